-- pg_attest keeping of an UPDATE the changed columns alone.
CREATE EXTENSION pg_attest;
SELECT audit.attach(target::regclass, capture => 'diff') FROM unnest(string_to_array(:'tables', ',')) AS target;
