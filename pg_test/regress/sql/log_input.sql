-- What the functions of the log say of events that are not as they were, and to arguments that they cannot take. In a database
-- of its own: other tests write to the log, too.
SET client_min_messages = warning;
CREATE DATABASE regress_log_input TEMPLATE template0 ENCODING 'UTF8';
\c regress_log_input
SET client_min_messages = warning;
CREATE EXTENSION pg_attest;
\set SHOW_CONTEXT never
\pset null (null)

-- nothing is sealed: no checkpoint, no tile, no proof
SELECT audit.checkpoint_body() IS NULL AS none, audit.checkpoint_body(1) IS NULL AS "none of a size", audit.checkpoint_note(-1) IS NULL AS note, audit.tile(0, 0) IS NULL AS tile, audit.consistency_proof(5, 3) IS NULL AS proof;
SELECT count(*) FROM audit.leaves(0, 1);
SELECT audit.add_signature(NULL, NULL);
SELECT audit.add_timestamp(NULL, NULL);
SELECT * FROM audit.verify(since_size => 0);
SELECT * FROM audit.verify_event(1);

-- a log of three seals: 301, 302 and 304 leaves, and an event that is not sealed
CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT audit.attach('t');
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 300) g;
SELECT audit.seal();
INSERT INTO t VALUES (301, 'another');
SELECT audit.seal();
INSERT INTO t VALUES (302, 'deleted'), (303, 'altered');
SELECT audit.seal();
INSERT INTO t VALUES (304, 'not sealed');
SELECT (SELECT event_id FROM audit.audit_events WHERE row_key = '7') AS whole,
       (SELECT event_id FROM audit.audit_events WHERE row_key = '302') AS deleted,
       (SELECT event_id FROM audit.audit_events WHERE row_key = '303') AS altered,
       (SELECT event_id FROM audit.audit_events WHERE row_key = '304') AS unsealed,
       (SELECT max(event_id) + 100000 FROM audit.audit_events) AS unknown,
       -77 AS forged \gset

-- SQLSTATE, message, detail and hint of a refusal, without ids
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    details text;
    advice text;
BEGIN
    EXECUTE statement;
    RETURN 'none';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(' / ', SQLSTATE, message, nullif(details, ''), nullif(advice, '')), '(event |verify_event.)-?[0-9]+', '\1E', 'g');
END
$$;

-- events that are not as they were
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL client_min_messages = error;
ALTER TABLE audit.audit_events DISABLE TRIGGER ALL;
INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, '{"event_id": -77}')).* FROM audit.audit_events e WHERE event_id = :deleted;
DELETE FROM audit.audit_events WHERE event_id = :deleted;
UPDATE audit.audit_events SET reason = 'x' WHERE event_id = :altered;
CREATE FUNCTION pg_temp.told(event bigint) RETURNS TABLE (check_name text, ok boolean, checked bigint, leaf_index bigint, detail text) LANGUAGE sql AS
$$ SELECT check_name, ok, checked, leaf_index, regexp_replace(detail, 'transaction \d+', 'transaction N') FROM audit.verify_event(event) $$;
SELECT * FROM pg_temp.told(:whole);
SELECT * FROM pg_temp.told(:deleted);
SELECT * FROM pg_temp.told(:altered);
SELECT * FROM pg_temp.told(:forged);
SELECT * FROM pg_temp.told(:unsealed);
-- an id that no event has
SELECT * FROM pg_temp.told(:unknown);
SELECT * FROM pg_temp.told('9223372036854775807');
SELECT * FROM pg_temp.told('-9223372036854775808');
SELECT count(*) FROM audit.verify_event(NULL);
-- leaves and proofs of the same events
SELECT name, (SELECT count(*) FROM audit.find_leaf(id)) AS leaves
FROM (VALUES ('whole', :whole), ('deleted', :deleted), ('altered', :altered), ('forged', :forged), ('unsealed', :unsealed), ('unknown', :unknown)) e (name, id);
SELECT name, refusal(format('SELECT audit.inclusion_proof(%s)', id)) AS "inclusion_proof"
FROM (VALUES ('whole', :whole), ('deleted', :deleted), ('altered', :altered), ('forged', :forged), ('unsealed', :unsealed), ('unknown', :unknown)) e (name, id);
SELECT name, refusal(format('SELECT audit.event_leaf(%s)', id)) AS "event_leaf"
FROM (VALUES ('deleted', :deleted), ('forged', :forged), ('unsealed', :unsealed), ('unknown', :unknown)) e (name, id);
ROLLBACK;
SELECT bool_and(ok) FROM audit.verify();

-- verify
SELECT check_name, ok, checked FROM audit.verify(workers => 0);
SELECT check_name, ok, checked FROM audit.verify(workers => 2147483647);
SELECT check_name, ok, checked FROM audit.verify(NULL, NULL, NULL, NULL, NULL);
SELECT * FROM audit.verify(workers => -1);
SELECT * FROM audit.verify(from_event => 2, to_event => 1);
SELECT check_name, ok, checked FROM audit.verify(from_event => '9223372036854775807', to_event => '9223372036854775807');
SELECT check_name, ok, checked FROM audit.verify(from_event => '-9223372036854775808', to_event => '-9223372036854775808');
SELECT check_name, ok, checked FROM audit.verify(since_size => 302);
SELECT check_name, ok, checked FROM audit.verify(since_size => 304);
-- a size that is no checkpoint's
SELECT check_name, ok, checked FROM audit.verify(since_size => 300);
SELECT * FROM audit.verify(since_size => -1);
SELECT * FROM audit.verify(since_size => 305);
SELECT * FROM audit.verify(since_size => 9223372036854775807);
SELECT * FROM audit.verify(sample => 'NaN');
SELECT * FROM audit.verify(sample => 'Infinity');
SELECT * FROM audit.verify(sample => -0.01);
SELECT * FROM audit.verify(sample => 1.01);
SELECT check_name, ok, checked FROM audit.verify(sample => 0);

-- consistency_proof
SELECT audit.consistency_proof(0, 304), audit.consistency_proof(304, 304), cardinality(audit.consistency_proof(301, 304)) > 0 AS proof;
SELECT cardinality(audit.consistency_proof(300, 303)) > 0 AS "of sizes that no checkpoint has";
SELECT audit.consistency_proof(NULL, 302), audit.consistency_proof(302, NULL), audit.consistency_proof(1, 2, 99), audit.consistency_proof(1, 2, -1);
SELECT audit.consistency_proof(302, 301);
SELECT audit.consistency_proof(302, 305);
SELECT audit.consistency_proof(-1, 302);
SELECT audit.consistency_proof(-2, -1);
SELECT audit.consistency_proof(0, -1);

-- inclusion_proof
SELECT audit.inclusion_proof(NULL), audit.inclusion_proof(NULL, 301);
SELECT audit.inclusion_proof(:whole, 300);
SELECT audit.inclusion_proof(:whole, -1);
-- a tree that the event is not in yet
SELECT refusal(format('SELECT audit.inclusion_proof(%s, 301)', :altered));

-- tile
SELECT audit.tile(NULL, 0), audit.tile(0, NULL), audit.tile(-1, 0), audit.tile(0, -1), audit.tile(256, 0), audit.tile(2147483647, 0), audit.tile(255, 0), audit.tile(8, 0);
SELECT audit.tile(0, 2), audit.tile(0, 9223372036854775807), audit.tile(7, 9223372036854775807), audit.tile(0, 0, NULL, 99), audit.tile(0, 0, 301, -1);
SELECT length(audit.tile(0, 1)), length(audit.tile(0, 1, 301));
SELECT audit.tile(0, 0, 300);
SELECT audit.tile(0, 0, 0);
SELECT audit.tile(0, 0, -1);

-- leaves
SELECT count(*) FILTER (WHERE leaf_index < 5) AS "first five", count(*) FROM audit.leaves(0, 9223372036854775807);
SELECT min(leaf_index), max(leaf_index) FROM audit.leaves(303, 9223372036854775807);
SELECT min(leaf_index), max(leaf_index) FROM audit.leaves(255, 2);
SELECT count(*) FROM audit.leaves(304, 1);
SELECT count(*) FROM audit.leaves(9223372036854775807, 9223372036854775807);
SELECT count(*) FROM audit.leaves(0, 0);
SELECT count(*) FROM audit.leaves(0, 1, 99);
SELECT count(*) FROM audit.leaves(NULL, NULL);
SELECT min(leaf_index), max(leaf_index) FROM audit.leaves(-5, 10);
SELECT count(*) FROM audit.leaves(0, -1);

-- checkpoint_body, checkpoint_note
SELECT audit.checkpoint_body(301, 99), audit.checkpoint_note(NULL, 99), audit.checkpoint_note(NULL, -1);
SELECT audit.checkpoint_body(300);
SELECT audit.checkpoint_note(-1);
SELECT audit.checkpoint_note(9223372036854775807, 1);

-- add_signature, add_timestamp
SELECT audit.add_signature(301, NULL);
SELECT audit.add_signature(301, E'\u2014 someone AAAAAAAAAAAA', 99);
SELECT audit.add_signature(-1, E'\u2014 someone AAAAAAAAAAAA');
SELECT audit.add_timestamp(301, NULL);
SELECT audit.add_timestamp(301, '\x3000', 99);
SELECT audit.add_timestamp(-1, '\x3000');

-- event_leaf, find_leaf
SELECT audit.event_leaf(NULL);
SELECT count(*) FROM audit.find_leaf(NULL);
SELECT count(*) FROM audit.find_leaf(9223372036854775807);
SELECT count(*) FROM audit.find_leaf('-9223372036854775808');

-- a superuser's events of the last id of all, and of one that no event gets for long: they keep nothing from being sealed, nor an epoch from beginning
SET client_min_messages = error;
BEGIN;
SET LOCAL session_replication_role = replica;
ALTER TABLE audit.audit_events DISABLE TRIGGER ALL;
INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, format('{"event_id": 9223372036854775807, "xact_id": "%s"}', pg_current_xact_id())::jsonb)).*
FROM audit.audit_events e WHERE row_key = '7';
COMMIT;
INSERT INTO t SELECT g, 'many' FROM generate_series(1001, 1300) g;
SELECT events FROM audit.unsealed();
SELECT audit.seal();
SELECT events FROM audit.unsealed();
SELECT count(*) FROM audit.find_leaf(9223372036854775807);
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO audit.audit_events SELECT (jsonb_populate_record(e, '{"event_id": 9000000000000000000}')).* FROM audit.audit_events e WHERE row_key = '7' AND event_id < 9223372036854775807;
ALTER TABLE audit.installation DISABLE TRIGGER ALL;
UPDATE audit.installation SET id = gen_random_uuid();
COMMIT;
SELECT audit.seal();
SELECT epoch, max(tree_size) FROM audit.checkpoints GROUP BY 1 ORDER BY 1;
SELECT check_name, ok, checked, CASE WHEN event_id > 1000000 THEN event_id END AS event_id, leaf_index,
       regexp_replace(detail, 'transaction [0-9]+', 'transaction N') AS detail
FROM audit.verify();
SELECT bool_or(metric = 'seal') AS metrics FROM audit.metrics('1 day');

\c regression
SET client_min_messages = warning;
DROP DATABASE regress_log_input;
