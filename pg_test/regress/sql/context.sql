-- Who acts and why: settings, audit.set_context, and what becomes of them in events.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_context;
SET search_path = regress_context;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, a text);
SELECT audit.attach('t');
INSERT INTO t VALUES (1, '');
CREATE FUNCTION last() RETURNS TABLE (a text, request_id text, process_id text, app_user_id text, reason text, session_id text, tenant_id text, context jsonb)
LANGUAGE sql AS $$
    SELECT new_values ->> 'a', request_id, process_id, app_user_id, reason, session_id, tenant_id, context
    FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update' ORDER BY event_id DESC LIMIT 1
$$;
SET TimeZone = 'UTC';

-- nothing is set
SELECT audit.context();
UPDATE t SET a = 'nothing';
SELECT * FROM last();

-- for the transaction, all of it; then it is gone
BEGIN;
SELECT audit.set_context('r1', 'p1', 'u1', 'because', 's1', 't1', '{"k": [1, 2, {"z": "\u00e4"}]}');
SELECT audit.context();
UPDATE t SET a = 'all';
COMMIT;
SELECT audit.context();
SELECT * FROM last();
UPDATE t SET a = 'none';
SELECT * FROM last();

-- for the session; NULL leaves a value as it is, an empty string clears it
SELECT audit.set_context(request_id => 'session', reason => 'stays', is_local => false);
SELECT audit.set_context(request_id => 'changed', is_local => false);
SELECT audit.context();
SELECT audit.set_context(request_id => '', is_local => false);
SELECT audit.context();
SELECT audit.set_context();
SELECT audit.set_context(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT audit.context();
RESET audit.reason;

-- settings do the same, and follow savepoints and functions
BEGIN;
SET LOCAL audit.request_id = 'outer';
SAVEPOINT s;
SET LOCAL audit.request_id = 'inner';
UPDATE t SET a = 'inner';
SELECT request_id FROM last();
ROLLBACK TO s;
UPDATE t SET a = 'outer';
SELECT request_id FROM last();
COMMIT;
UPDATE t SET a = 'after';
SELECT request_id FROM last();
CREATE FUNCTION writes() RETURNS void LANGUAGE sql SET audit.request_id = 'function' AS $$ UPDATE t SET a = 'function' $$;
SELECT writes();
SELECT request_id FROM last();
SET audit.request_id = 'for good';
UPDATE t SET a = 'request';
SELECT request_id FROM last();
RESET audit.request_id;

-- audit.context: a JSON object; no write fails where it is none
SET audit.context = '{"a": 1, "time_zone": "mine"}';
UPDATE t SET a = 'object';
SELECT context FROM last();
SET audit.context = 'not JSON';
UPDATE t SET a = 'not JSON';
SELECT * FROM last();
SET audit.context = '[1]';
UPDATE t SET a = 'array';
SELECT * FROM last();
SET audit.context = '{"a": "x\u0000y", "b": "\\u0000", "c": "\ud800"}';
UPDATE t SET a = 'NUL bytes';
SELECT a, context::text LIKE '%x%y%' AS kept FROM last();
RESET audit.context;
-- numbers keep their digits
SELECT audit.set_context(extra => '{"big": 123456789012345678901234567890, "f": 1.10, "i": 9007199254740993, "e": 1e400}', is_local => false);
SELECT audit.context() -> 'extra' -> 'e' = to_jsonb(1e400) AS e, (audit.context() -> 'extra') - 'e' AS others;
UPDATE t SET a = 'numbers';
SELECT context -> 'e' = to_jsonb(1e400) AS e, context - 'e' AS others FROM last();
RESET audit.context;

-- the time zone, where it is not UTC
SET TimeZone = 'Europe/Berlin';
UPDATE t SET a = 'Berlin';
SELECT context FROM last();
SET audit.context = '{"a": 1, "time_zone": "mine"}';
UPDATE t SET a = 'Berlin, too';
SELECT context FROM last();
RESET audit.context;
SET TimeZone = 'UTC';

-- long values are cut at a character's end
BEGIN;
SELECT length(set_config('audit.request_id', repeat('ü', 1000), true)), length(set_config('audit.reason', repeat('ü', 3000), true));
UPDATE t SET a = 'long';
COMMIT;
SELECT length(request_id) AS request_id, octet_length(request_id) AS bytes, length(reason) AS reason, right(request_id, 2) AS ends FROM last();

-- DDL and acts of the audit itself have it, too
SET audit.request_id = 'ddl';
SET audit.reason = 'upkeep';
ALTER TABLE t ADD COLUMN b int;
SELECT audit.detach('t', 'the reason given wins');
SELECT operation, action, request_id, reason FROM audit.audit_events WHERE request_id = 'ddl' AND schema_name = 'regress_context' ORDER BY event_id;
RESET audit.request_id;
RESET audit.reason;

-- the settings are these; others of the prefix are not taken, and some are not everybody's
\set VERBOSITY sqlstate
SET audit.nosuch = 1;
\set VERBOSITY default
SELECT name, context, setting FROM pg_settings WHERE name LIKE 'audit.%' ORDER BY 1;

DROP SCHEMA regress_context CASCADE;
