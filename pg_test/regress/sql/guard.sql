-- Case 4: the log is append-only; nobody writes, forges, alters or removes an event by SQL.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_guard;
SET search_path = regress_guard;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT audit.attach('t');
INSERT INTO t VALUES (1, 'x');
SELECT format('audit.audit_events_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')) AS month \gset
SELECT count(*) AS before FROM audit.audit_events
\gset

-- on the log (the messages name the month's partition)
\set VERBOSITY sqlstate
INSERT INTO audit.audit_events SELECT * FROM audit.audit_events;
UPDATE audit.audit_events SET reason = 'x';
DELETE FROM audit.audit_events;
\set VERBOSITY default
TRUNCATE audit.audit_events;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE audit.audit_events_default;
-- a statement that reaches no row does nothing
DELETE FROM audit.audit_events WHERE false;
\set VERBOSITY sqlstate
INSERT INTO audit.audit_events_default SELECT * FROM audit.audit_events;
MERGE INTO audit.audit_events e USING (VALUES (1)) AS s (x) ON true WHEN MATCHED THEN DELETE;
WITH x AS (DELETE FROM audit.audit_events RETURNING *) SELECT 1;
COPY audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, session_user_name, effective_role) FROM stdin;
1	2024-01-01	2024-01-01	1	1	1	event	a	b
\.
COPY audit.audit_events_default (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, session_user_name, effective_role) FROM stdin;
1	2024-01-01	2024-01-01	1	1	1	event	a	b
\.

-- on a partition
INSERT INTO :month SELECT * FROM :month;
UPDATE :month SET reason = 'x';
DELETE FROM :month;
TRUNCATE :month;
COPY :month (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, session_user_name, effective_role) FROM stdin;
1	2024-01-01	2024-01-01	1	1	1	event	a	b
\.

-- as a replica
SET session_replication_role = replica;
INSERT INTO :month SELECT * FROM :month;
DELETE FROM audit.audit_events;
UPDATE :month SET reason = 'x';
TRUNCATE :month;
TRUNCATE audit.audit_events;
RESET session_replication_role;

-- by other ways
DROP TABLE :month;
DROP TABLE audit.audit_events;
DROP TABLE audit.audit_events_default;
DROP TABLE audit.attachment;
DROP SCHEMA audit CASCADE;
DROP FUNCTION audit.capture_order CASCADE;
CREATE RULE away AS ON INSERT TO t DO ALSO DELETE FROM audit.audit_events;
INSERT INTO t VALUES (2, 'rule');
DROP RULE away ON t;
SELECT count(*) = :before AS "none came, none went" FROM audit.audit_events;
SELECT op, key FROM look() WHERE op NOT IN ('system', 'ddl');

-- the guards and the capture functions do nothing elsewhere
SELECT audit.guard();
SELECT audit.capture_order();
SELECT audit.on_ddl();
\set VERBOSITY terse
CREATE TABLE plain (i int);
CREATE TRIGGER a BEFORE INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION audit.capture_order();
CREATE TRIGGER b AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION audit.capture_row('{}');
CREATE TRIGGER c AFTER INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION audit.capture_statement();
CREATE TRIGGER d BEFORE TRUNCATE ON plain FOR EACH STATEMENT EXECUTE FUNCTION audit.capture_truncate();
CREATE EVENT TRIGGER regress_guard ON ddl_command_end EXECUTE FUNCTION audit.guard();
\set VERBOSITY sqlstate
INSERT INTO plain VALUES (1);
TRUNCATE plain;
SELECT op, tab FROM look() WHERE tab = 'plain';

-- the one way round is the superuser's
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, session_user_name, effective_role)
VALUES (-1, now(), now(), '1', 1, 1, 'event', 'a', 'b');
SELECT operation, session_user_name FROM audit.audit_events WHERE event_id = -1;
DELETE FROM audit.audit_events WHERE event_id = -1;
RESET audit.restore;
CREATE ROLE regress_guard_owner;
GRANT ALL ON SCHEMA regress_guard TO regress_guard_owner;
ALTER TABLE t OWNER TO regress_guard_owner;
SET ROLE regress_guard_owner;
SET audit.restore = on;
SET audit.allow_drop = on;
SET session_replication_role = replica;
SELECT count(*) FROM audit.audit_events;
INSERT INTO audit.audit_events SELECT * FROM audit.audit_events;
DELETE FROM audit.audit_events;
DELETE FROM audit.audit_events_default;
DELETE FROM :month;
TRUNCATE audit.audit_events;
SELECT nextval('audit.audit_events_event_id_seq');
SELECT setval('audit.audit_events_event_id_seq', 1);
DELETE FROM audit.attachment;
ALTER TABLE audit.audit_events DISABLE TRIGGER ALL;
DROP TABLE audit.audit_events;
RESET ROLE;

DROP SCHEMA regress_guard CASCADE;
DROP ROLE regress_guard_owner;
