-- Ids from a comment in the statement, when audit.read_sqlcommenter is on.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_sqlcommenter;
SET search_path = regress_sqlcommenter;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, a text);
SELECT audit.attach('t');
INSERT INTO t VALUES (1, '');
CREATE FUNCTION last() RETURNS TABLE (a text, request_id text, process_id text, app_user_id text, reason text, session_id text, tenant_id text)
LANGUAGE sql AS $$
    SELECT new_values ->> 'a', request_id, process_id, app_user_id, reason, session_id, tenant_id
    FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update' ORDER BY event_id DESC LIMIT 1
$$;

-- off by default
UPDATE t SET a = 'off' /*request_id='r'*/;
SELECT * FROM last();
SET audit.read_sqlcommenter = on;

-- URL-encoded, with escaped quotes; in front or behind
UPDATE t SET a = 'behind' /*request_id='r%2F1',app_user_id='u%20v',reason='it\'s',session_id='s',tenant_id='t%C3%BC',process_id='p'*/;
SELECT * FROM last();
/*process_id='p9'*/ UPDATE t SET a = 'in front';
SELECT * FROM last();

-- the trace id serves as request id where there is none
UPDATE t SET a = 'trace' /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/;
SELECT * FROM last();
UPDATE t SET a = 'both' /*request_id='own',traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/;
SELECT * FROM last();

-- what was set wins
SET audit.request_id = 'set';
UPDATE t SET a = 'set' /*request_id='comment',tenant_id='comment'*/;
SELECT * FROM last();
RESET audit.request_id;

-- what is no comment, or not of that kind, or broken
UPDATE t SET a = '/*request_id=''no''*/';
SELECT * FROM last();
UPDATE t SET a = 'plain' /* hello */;
SELECT * FROM last();
UPDATE t SET a = 'empty' /*request_id=''*/;
SELECT * FROM last();
UPDATE t SET a = 'other' /*extra='x',context='y',nosuch='z'*/;
SELECT * FROM last();
UPDATE t SET a = 'open quote' /*request_id='x*/;
SELECT a FROM last();
UPDATE t SET a = $$/*request_id='x'*/$$;
SELECT * FROM last();
UPDATE t SET a = 'invalid' /*request_id='%zz%00x%',reason='%ff'*/;
SELECT a, length(request_id) AS length, request_id FROM last();

-- a prepared statement has the comment that it was prepared with, or executed with
PREPARE p AS UPDATE t SET a = 'prepared' /*request_id='prepare'*/;
EXECUTE p /*request_id='execute'*/;
SELECT request_id IN ('prepare', 'execute') AS one_of_them FROM last();
-- it satisfies `require`
SELECT audit.attach('t', require => '{reason}');
UPDATE t SET a = 'required' /*reason='r'*/;
SELECT * FROM last();
UPDATE t SET a = 'missing';
UPDATE t SET a = 'blank' /*reason='%20'*/;

DROP SCHEMA regress_sqlcommenter CASCADE;
