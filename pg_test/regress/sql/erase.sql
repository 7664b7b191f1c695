-- Erasure: the values go, the proof stays.
SET client_min_messages = warning;
CREATE DATABASE regress_erase TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_erase
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE patient (id text PRIMARY KEY, name text);
SELECT audit.attach('patient');
INSERT INTO patient VALUES ('a', 'Ann'), ('b', 'Bob'), ('c', 'Cyd');
UPDATE patient SET name = 'Anna' WHERE id = 'a';
-- a's key becomes x; another row gets the key a
UPDATE patient SET id = 'x' WHERE id = 'a';
INSERT INTO patient VALUES ('a', 'Al');
-- two rows change keys in one statement
BEGIN;
ALTER TABLE patient DROP CONSTRAINT patient_pkey, ADD CONSTRAINT patient_pkey PRIMARY KEY (id) DEFERRABLE;
UPDATE patient SET id = CASE id WHEN 'b' THEN 'c' ELSE 'b' END WHERE id IN ('b', 'c');
COMMIT;
-- gone and back under its key is the same row
DELETE FROM patient WHERE id = 'x';
INSERT INTO patient VALUES ('x', 'Anna again');
SELECT audit.seal() > 0 AS sealed;
CREATE VIEW life AS SELECT e.operation, e.old_row_key, e.row_key, e.new_values ->> 'name' AS name, e.payload_hash IS NOT NULL AS erased
FROM audit.audit_events e WHERE e.table_name = 'patient' AND e.operation NOT IN ('ddl', 'system') ORDER BY e.event_id;

-- whose events they are
SELECT e.operation, e.old_row_key, e.row_key FROM audit.row_life('patient', 'x') l JOIN audit.audit_events e ON e.event_id = l ORDER BY e.event_id;
SELECT e.operation, e.old_row_key, e.row_key FROM audit.row_life('patient', 'a') l JOIN audit.audit_events e ON e.event_id = l ORDER BY e.event_id;
SELECT e.operation, e.old_row_key, e.row_key, e.new_values ->> 'name' AS name FROM audit.row_life('patient', 'b') l JOIN audit.audit_events e ON e.event_id = l ORDER BY e.event_id;

-- refused under a hold, also on a former key
SELECT audit.hold('case', target => 'patient', row_key => 'a', reason => 'court') > 0 AS held;
SELECT row_keys FROM audit.holds;
SELECT audit.erase('patient', 'x', 'article 17');
SELECT audit.release_hold('case', 'settled');
-- whatever the hold is of: the table, a time, a request, all of it together
BEGIN;
SELECT audit.set_context(request_id => 'r-1');
UPDATE patient SET name = 'Anna of r-1' WHERE id = 'x';
COMMIT;
SELECT audit.seal() > 0 AS sealed;
SELECT audit.hold('table', target => 'patient', reason => 'court') > 0 AS held;
SELECT audit.erase('patient', 'x', 'article 17');
SELECT audit.release_hold('table', 'settled');
SELECT audit.hold('time', period => tstzrange(now() - interval '1 day', NULL), reason => 'court') > 0 AS held;
SELECT audit.erase('patient', 'x', 'article 17');
SELECT audit.release_hold('time', 'settled');
SELECT audit.hold('request', request_id => 'r-1', reason => 'court') > 0 AS held;
SELECT audit.erase('patient', 'x', 'article 17');
SELECT audit.release_hold('request', 'settled');
SELECT audit.hold('all', target => 'patient', row_key => 'x', request_id => 'r-1', period => tstzrange(now() - interval '1 day', NULL), reason => 'court') > 0 AS held;
SELECT audit.erase('patient', 'x', 'article 17');
SELECT audit.release_hold('all', 'settled');

-- what is not sealed yet is sealed first; what this transaction did cannot be
UPDATE patient SET name = 'Anna once more' WHERE id = 'x';
BEGIN;
UPDATE patient SET name = 'not sealed' WHERE id = 'x';
\set VERBOSITY sqlstate
SELECT audit.erase('patient', 'x', 'article 17');
\set VERBOSITY default
ROLLBACK;
SELECT audit.seal() > 0 AS sealed;
CREATE TABLE proof AS SELECT l.*, audit.event_leaf(l.event_id) AS leaf, audit.inclusion_proof(l.event_id) AS inclusion
FROM audit.leaves(0, 1000) l JOIN audit.row_life('patient', 'x') e ON e = l.event_id;
SELECT count(*) FROM proof;
SELECT audit.erase('patient', 'x', 'article 17') AS events;
SELECT * FROM life;
SELECT count(*) AS "values left" FROM audit.audit_events
WHERE payload_hash IS NOT NULL AND num_nonnulls(salt, row_key, old_row_key, old_values, new_values, entity_id, entity_name, description, context) > 0;
-- the leaves are what they were
SELECT count(*) AS leaves, bool_and(audit.event_leaf(event_id) = leaf) AS same, bool_and(sha256('\x00' || leaf) = leaf_hash) AS sealed FROM proof;
SELECT audit.seal() > 0 AS sealed;
-- who, why, which
SELECT action, table_name, reason, session_user_name = session_user AS mine, row_key, context -> 'count' AS count,
       (SELECT array_agg(l.event_id ORDER BY l.event_id) FROM jsonb_array_elements(context -> 'leaves') run,
        audit.leaves((run ->> 1)::bigint, (run ->> 2)::bigint - (run ->> 1)::bigint + 1) l)
       = (SELECT array_agg(event_id ORDER BY event_id) FROM proof) AS "the events",
       encode(sha256(decode(context -> 'row_key' ->> 'nonce', 'hex') || convert_to('x', 'UTF8')), 'hex') = context -> 'row_key' ->> 'sha256' AS "the key"
FROM audit.audit_events WHERE action = 'erase';
-- again: there is nothing left of it; and what comes later can be erased, too
SELECT audit.erase('patient', 'x', 'again');
DELETE FROM patient WHERE id = 'x';
SELECT audit.erase('patient', 'x', 'again');
-- a key that belongs to another row now
UPDATE patient SET id = 'y' WHERE id = 'a';
\set VERBOSITY terse
SELECT audit.erase('patient', 'a', 'moved');
SELECT audit.erase('patient', 'never', 'nobody');
-- what was altered is not erased
SET session_replication_role = replica;
ALTER TABLE audit.audit_events DISABLE TRIGGER refuse_write;
UPDATE audit.audit_events SET reason = 'forged' WHERE row_key = 'y';
ALTER TABLE audit.audit_events ENABLE ALWAYS TRIGGER refuse_write;
RESET session_replication_role;
\set VERBOSITY sqlstate
SELECT audit.erase('patient', 'y', 'altered');
\set VERBOSITY default
-- no SQL gets past the guard
\set VERBOSITY sqlstate
UPDATE audit.audit_events SET reason = 'forged';
\set VERBOSITY default

-- nobody may erase who was not given it
CREATE ROLE regress_erase;
SET ROLE regress_erase;
SELECT audit.erase('patient', 'b', 'r');
RESET ROLE;
SELECT audit.grant_access('regress_erase', 'admin');
SET ROLE regress_erase;
SELECT audit.erase('patient', 'b', 'r');
SELECT effective_role FROM audit.audit_events WHERE action = 'erase' ORDER BY event_id DESC LIMIT 1;
RESET ROLE;
DROP OWNED BY regress_erase;
DROP ROLE regress_erase;

\c regression
DROP DATABASE regress_erase;
