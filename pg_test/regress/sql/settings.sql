-- The settings of an attached table: what each of them records, leaves out or refuses.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_settings;
SET search_path = regress_settings;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, a text, b numeric, c json, secret text);

-- capture => diff: an UPDATE keeps the changed columns; what is excluded or masked
SELECT audit.attach('t', capture => 'diff', exclude => '{c}', mask => '{secret}');
INSERT INTO t VALUES (1, 'a', 1.5, '{}', 's');
UPDATE t SET b = 1.50;
UPDATE t SET c = '{"x": 1}';
UPDATE t SET secret = 't', a = NULL;
UPDATE t SET secret = NULL;
UPDATE t SET id = 2, c = NULL;
DELETE FROM t;
SELECT op, key, old_key, old, new, changed FROM look() WHERE op <> 'system';

-- masked by their names, unless told otherwise
SET client_min_messages = notice;
CREATE TABLE names (id int PRIMARY KEY, password text, "user_Token" text, api_key int, apikey text, secrets bool, credentials json, passwd text, tokens_used int);
SELECT audit.attach('names');
INSERT INTO names VALUES (1, 'a', 'b', 3, 'd', true, '{}', 'f', 7);
INSERT INTO names (id) VALUES (2);
SELECT audit.attach('names', mask => '{}');
SELECT audit.attach('names', mask => '{api_key}', exclude => '{password}');
SET client_min_messages = warning;
INSERT INTO names VALUES (3, 'a', 'b', 3, 'd', true, '{}', 'f', 7);
SELECT op, new FROM look() WHERE op <> 'system';

-- skip_unchanged: an UPDATE that changes no recorded column
SELECT audit.attach('t', exclude => '{c}');
INSERT INTO t (id) VALUES (1);
UPDATE t SET id = id;
UPDATE t SET c = '1';
SELECT audit.attach('t', exclude => '{c}', skip_unchanged => false);
UPDATE t SET id = id;
UPDATE t SET c = '2';
SELECT audit.attach('t', capture => 'diff', skip_unchanged => false);
UPDATE t SET id = id;
SELECT op, key, old, new, changed FROM look() WHERE op <> 'system';

-- operations: which are recorded
SELECT audit.attach('t', operations => '{delete,truncate}');
INSERT INTO t (id) VALUES (5);
UPDATE t SET a = 'x';
DELETE FROM t WHERE id = 5;
TRUNCATE t;
SELECT audit.attach('t', operations => '{update}');
INSERT INTO t (id, a) VALUES (5, 'x') ON CONFLICT (id) DO UPDATE SET a = 'insert';
INSERT INTO t (id, a) VALUES (5, 'x') ON CONFLICT (id) DO UPDATE SET a = 'conflict';
DELETE FROM t;
TRUNCATE t;
SELECT op, key, new ->> 'a' AS a FROM look() WHERE op <> 'system';

-- on_truncate => rows: a delete event each, whether or not DELETE is recorded
SELECT audit.attach('t', on_truncate => 'rows', operations => '{insert,truncate}');
INSERT INTO t (id) VALUES (1), (2);
TRUNCATE t;
-- without the operation truncate there is nothing to record
SELECT audit.attach('t', on_truncate => 'rows', operations => '{insert}');
INSERT INTO t (id) VALUES (3);
TRUNCATE t;
SELECT op, key FROM look() WHERE op <> 'system';
-- forbid refuses, whatever is recorded, and also by way of a referencing table
SELECT audit.attach('t', on_truncate => 'forbid', operations => '{insert}');
CREATE TABLE other (id int);
INSERT INTO t (id) VALUES (4);
TRUNCATE t;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE other, t;
CREATE TABLE referenced (id int PRIMARY KEY);
ALTER TABLE t ADD COLUMN r int REFERENCES referenced;
TRUNCATE referenced CASCADE;
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM t;
SELECT op, key FROM look() WHERE op NOT IN ('system', 'ddl');

-- require: a write without it is refused; blank is missing
SELECT audit.attach('t', require => '{reason,request_id}');
INSERT INTO t (id) VALUES (6);
\echo :LAST_ERROR_SQLSTATE
SET audit.reason = 'why';
INSERT INTO t (id) VALUES (6);
SET audit.request_id = 'r';
INSERT INTO t (id) VALUES (6);
SET audit.reason = '   ';
UPDATE t SET a = 'y';
\echo :LAST_ERROR_SQLSTATE
SET audit.reason = '';
\set VERBOSITY terse
UPDATE t SET a = 'y';
DELETE FROM t;
TRUNCATE t;
COPY t (id) FROM stdin;
7
\.
MERGE INTO t USING (VALUES (6)) AS s (id) ON t.id = s.id WHEN MATCHED THEN DELETE;
-- it is checked when the statement begins
UPDATE t SET a = 'y' WHERE false;
\set VERBOSITY default
SET audit.reason = 'because';
UPDATE t SET a = 'z' WHERE id = 6;
RESET audit.reason;
RESET audit.request_id;
-- set_context counts as well, each field, extra keys not
SELECT audit.attach('t', require => '{process_id,app_user_id,session_id,tenant_id}');
BEGIN;
SELECT audit.set_context(process_id => 'p', app_user_id => 'u', session_id => 's', tenant_id => 't');
UPDATE t SET a = 'context' WHERE id = 6;
COMMIT;
UPDATE t SET a = 'none' WHERE id = 6;
SELECT op, key, new ->> 'a' AS a FROM look() WHERE op NOT IN ('system', 'ddl');

-- exclude, mask and key_columns together; a key of several columns is a row literal
SELECT audit.attach('t', exclude => '{b,c}', mask => '{a}', key_columns => '{id,r}', require => '{}');
SELECT exclude, mask, key_columns FROM audit.attachments WHERE target = 't'::regclass;
INSERT INTO t (id, a) VALUES (8, 'hidden');
SELECT op, key, new FROM look() WHERE op = 'insert';

DROP SCHEMA regress_settings CASCADE;
