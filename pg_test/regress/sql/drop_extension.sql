-- Case 38: the extension is not dropped while events exist, unless the administrator says so; then no table is left broken.
-- In a database of its own.
SET client_min_messages = warning;
CREATE DATABASE regress_drop_extension TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_drop_extension
SET client_min_messages = warning;
\set SHOW_CONTEXT never

-- only where text is UTF-8
CREATE DATABASE regress_drop_extension_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_drop_extension_latin1
DO $$
BEGIN
    CREATE EXTENSION pg_attest;
EXCEPTION WHEN OTHERS THEN
    NULL;
END
$$;
SELECT count(*) FROM pg_extension WHERE extname = 'pg_attest';
\c regress_drop_extension
SET client_min_messages = warning;

-- a schema of that name which is somebody else's
CREATE SCHEMA audit;
\set VERBOSITY sqlstate
CREATE EXTENSION pg_attest;
\set VERBOSITY default
DROP SCHEMA audit;

-- without events it goes as any other
CREATE EXTENSION pg_attest;
DROP EXTENSION pg_attest;
CREATE EXTENSION pg_attest;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p DEFAULT;
CREATE TABLE base (id int);
CREATE TABLE kid () INHERITS (base);
SELECT audit.attach('t'), audit.attach('p'), audit.attach('base');
INSERT INTO t VALUES (1, 'x');

-- with events it is refused, by every way
DROP EXTENSION pg_attest;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
DROP EXTENSION pg_attest CASCADE;
DROP EXTENSION IF EXISTS pg_attest CASCADE;
DROP SCHEMA audit CASCADE;
DROP SCHEMA public, audit CASCADE;
DROP TABLE audit.audit_events CASCADE;
DROP TABLE audit.audit_events_default;
DROP TABLE audit.attachment CASCADE;
DROP FUNCTION audit.capture_order() CASCADE;
DROP SEQUENCE audit.audit_events_event_id_seq;
DROP EVENT TRIGGER audit_sql_drop;
\set VERBOSITY default
-- a session that has not loaded the library refuses as well
\c -
SET client_min_messages = warning;
\set VERBOSITY sqlstate
DROP EXTENSION pg_attest CASCADE;
\c -
DROP SCHEMA audit CASCADE;
\set VERBOSITY default
SET client_min_messages = warning;
INSERT INTO t VALUES (2, 'y');
SELECT operation, row_key FROM audit.audit_events WHERE table_name = 't' ORDER BY event_id;

-- neither does its owner who is no superuser
CREATE ROLE regress_drop_extension;
SET ROLE regress_drop_extension;
SET audit.allow_drop = on;
RESET ROLE;

-- tables remain attached: without CASCADE their triggers stand in the way
SET audit.allow_drop = on;
\set VERBOSITY sqlstate
DROP EXTENSION pg_attest;
\set VERBOSITY default
DROP EXTENSION pg_attest CASCADE;
SELECT count(*) AS triggers FROM pg_trigger WHERE NOT tgisinternal;
SELECT count(*) AS event_triggers FROM pg_event_trigger;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'audit';
-- no table is left broken
INSERT INTO t VALUES (3, 'z');
INSERT INTO p VALUES (1);
INSERT INTO kid VALUES (1);
UPDATE t SET v = 'free';
UPDATE base SET id = 2;
DELETE FROM p;
TRUNCATE t, p, base;
ALTER TABLE t ADD COLUMN w int;
DROP TABLE kid;
-- and it comes back
CREATE EXTENSION pg_attest;
SELECT audit.attach('t');
INSERT INTO t VALUES (4, 'back');
SELECT operation, row_key FROM audit.audit_events ORDER BY event_id;

\c regression
DROP DATABASE regress_drop_extension;
DROP DATABASE regress_drop_extension_latin1;
DROP ROLE regress_drop_extension;
