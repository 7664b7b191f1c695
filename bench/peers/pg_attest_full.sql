-- pg_attest with its defaults: both images of an UPDATE in full.
CREATE EXTENSION pg_attest;
SELECT audit.attach(target::regclass) FROM unnest(string_to_array(:'tables', ',')) AS target;
