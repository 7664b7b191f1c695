-- What each function says to arguments that it cannot take: SQLSTATE, message, detail, hint.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_bad_input;
SET search_path = regress_bad_input;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, v text, w text);
CREATE VIEW a_view AS SELECT 1 AS one;
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root DEFAULT;

-- attach
SELECT audit.attach(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('nosuch');
\set VERBOSITY sqlstate
SELECT audit.attach(4294967295::oid::regclass);
\set VERBOSITY default
SELECT audit.attach('t', operations => '{INSERT}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', operations => '{insert,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', operations => '{{insert,update},{delete,truncate}}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', exclude => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', exclude => '{V}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', exclude => '{ctid}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', require => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', require => '{foo}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', require => '{extra}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', capture => '');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('t', on_truncate => 'ROWS');
\echo :LAST_ERROR_SQLSTATE
SELECT target FROM audit.attachments WHERE schema_name = 'regress_bad_input';
-- NULL is the default; a column twice is a column
SELECT audit.attach('t', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT capture, operations, exclude, mask, key_columns, require, on_truncate, skip_unchanged FROM audit.attachments WHERE target = 't'::regclass;
SELECT audit.attach('t', operations => '{insert,insert}', exclude => '{v,v}', mask => '{w,w}', key_columns => '{id,id}', require => '{reason,reason}');
SET audit.reason = 'twice';
INSERT INTO t VALUES (1, 'v', 'w');
SELECT op, key, new FROM look() WHERE op = 'insert';
RESET audit.reason;

-- attach_with, attach_schema_with: what attach and attach_schema call
SELECT audit.attach_with('t', '1', false);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_with('t', '{"capture": 3}', false);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.attach_with('t', 'null', false);
SELECT audit.attach_schema_with('regress_bad_input', '[]', false);
\set VERBOSITY default

-- detach
SELECT audit.detach(NULL, 'why');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach('t', E' \t\n');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach('a_view', 'why');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach('leaf', 'why');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.detach(4294967295::oid::regclass, 'why');
\set VERBOSITY default

-- attach_schema, detach_schema
SELECT audit.attach_schema(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('information_schema');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('pg_toast');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('regress_bad_input', require => '{foo}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('regress_bad_input', capture => 'foo');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach_schema(NULL, 'why');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach_schema('nosuch', 'why');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach_schema('regress_bad_input', NULL);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.detach_schema('regress_bad_input', 'was never attached');
\set VERBOSITY default

-- grant_access
SELECT audit.grant_access(NULL, 'reader');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.grant_access('regress_nosuch', 'reader');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.grant_access(current_user, 'owner');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.grant_access(current_user, NULL);
\echo :LAST_ERROR_SQLSTATE

-- set_context
SELECT audit.set_context(extra => '1');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.set_context(extra => 'null');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.set_context(extra => '[]');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.context();

-- processes
SELECT audit.begin_process(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.begin_process(E' \t');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.begin_process('p', metadata => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.begin_process('p', process_id => repeat('é', 600));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.begin_process('p', parent_process_id => repeat('p', 1001));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.begin_process('p', request_id => repeat('r', 1001));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.end_process();
\echo :LAST_ERROR_SQLSTATE
SELECT audit.end_process('nosuch');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT audit.begin_process('p', 'r', process_id => 'bad-input-p');
SAVEPOINT s;
SELECT audit.begin_process('p', 'r', process_id => 'bad-input-p');
ROLLBACK TO s;
SELECT audit.end_process('bad-input-p', metadata => '1');
ROLLBACK TO s;
SELECT audit.end_process('bad-input-p', NULL);
SELECT audit.end_process('bad-input-p');
ROLLBACK;

-- reading
SELECT audit.history(NULL, '1');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.history('t', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.history('nosuch', '1');
\set VERBOSITY sqlstate
SELECT audit.history(4294967295::oid::regclass, '1');
\set VERBOSITY default
SELECT count(*) FROM audit.history('a_view', '1');
SELECT count(*) FROM audit.blame('root', '1');
SELECT audit.as_of(NULL::int, now());
\echo :LAST_ERROR_SQLSTATE
SELECT audit.as_of(NULL::leaf, now());
\echo :LAST_ERROR_SQLSTATE
SELECT audit.as_of(NULL::a_view, now());
\echo :LAST_ERROR_SQLSTATE
SELECT audit.as_of(NULL::t, NULL);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.as_of(NULL::root, now());
SELECT audit.as_of(NULL::t, '-infinity');
\set VERBOSITY default
SELECT count(*) FROM audit.rows_at('root', now());
SELECT audit.lineage_graph(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.changes_between(NULL, now());
\echo :LAST_ERROR_SQLSTATE
SELECT audit.revert();
\echo :LAST_ERROR_SQLSTATE
SELECT audit.revert(1, '1');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.revert(target => 't', row_key => '1');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.revert(row_key => '1', to_time => now());
\echo :LAST_ERROR_SQLSTATE
SELECT audit.revert(-1);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.revert(min(event_id)) FROM audit.audit_events WHERE action = 'attach';
\set VERBOSITY default
SELECT count(*) FROM audit.revert(xact_id => '1');

-- trigger functions are for triggers
SELECT audit.guard();
\echo :LAST_ERROR_SQLSTATE
SELECT audit.capture_statement();
\echo :LAST_ERROR_SQLSTATE
SELECT audit.on_ddl();
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE plain (i int);
CREATE TRIGGER no_argument BEFORE INSERT ON plain FOR EACH STATEMENT EXECUTE FUNCTION audit.capture_order();
INSERT INTO plain VALUES (1);
\echo :LAST_ERROR_SQLSTATE

DROP SCHEMA regress_bad_input CASCADE;
