-- What a session's audit.context says keeps nothing that retention says of itself from being read.
SET client_min_messages = warning;
CREATE DATABASE regress_context TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_context
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('notes');

-- A number that no numeric holds; one that no double holds; an object that serde takes for a number once jsonb has sorted its keys.
CREATE TABLE contexts AS SELECT * FROM unnest(ARRAY['{"n": 1e1000000}', '{"n": 1e400}',
    '{"x": {"a key that is longer than the other": 1, "$serde_json::private::Number": "abc"}}', 'no JSON', '{"hold": "other", "leaves": [], "period": 1}'])
    WITH ORDINALITY AS c (context, n);
INSERT INTO notes SELECT n FROM contexts UNION ALL SELECT n + 100 FROM contexts;
SELECT count(audit.log_event('old', category => 'c ' || n)) AS logged FROM contexts;
SELECT audit.seal() > 0 AS sealed;
CREATE FUNCTION attempt(n bigint, said text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    erased bigint;
BEGIN
    PERFORM set_config('audit.context', said, true);
    PERFORM audit.hold('case ' || n, target => 'notes', row_key => n::text, reason => 'court');
    PERFORM audit.set_retention('1 microsecond', category => 'c ' || n);
    BEGIN
        PERFORM audit.erase('notes', n::text, 'held');
        RETURN 'erased under a hold';
    EXCEPTION WHEN object_in_use THEN
    END;
    SELECT audit.erase('notes', (n + 100)::text, 'free') INTO erased;
    PERFORM audit.release_hold('case ' || n, 'settled');
    RETURN format('erased %s, active holds %s, policies %s', erased > 0, (SELECT count(*) FROM audit.holds WHERE active), (SELECT count(*) FROM audit.retention_policies));
END
$$;
SELECT n, attempt(n, context) FROM contexts ORDER BY n;
SET audit.context = '{"n": 1e1000000}';
SELECT policy, due, pruned FROM audit.apply_retention(false) ORDER BY policy;
SELECT audit.erase('notes', '1', 'released') > 0 AS erased;
RESET audit.context;
-- what they said stands there, and beside it what was meant
SELECT context ->> 'hold' AS hold, left(context ->> 'unparsed', 30) AS unparsed, left((context -> 'x')::text, 40) AS x, context ->> 'n' IS NOT NULL AS n
FROM audit.audit_events WHERE operation = 'system' AND action = 'hold' ORDER BY event_id;
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok;

\c regression
DROP DATABASE regress_context;
