-- request_column and process_column: the ids of an event from columns of its row, where the context has none.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_ids_from_columns;
SET search_path = regress_ids_from_columns;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all
CREATE VIEW ids AS
SELECT t.op, t.tab, t.key, e.request_id, e.process_id, t.changed, t.xact_id, t.statement_id, t.event_id
FROM look() t JOIN audit.audit_events e ON e.event_id = t.event_id WHERE t.op NOT IN ('system', 'ddl');

-- The baseline has them; insert, update and snapshot take the new row's, delete the old one's; NULL and '' are none
CREATE TABLE t (id int PRIMARY KEY, v text, req text, proc int);
INSERT INTO t VALUES (1, 'there', 'ids-0', 10), (2, 'there', NULL, NULL);
SELECT audit.attach('t', request_column => 'req', process_column => 'proc', baseline => true);
SELECT request_column, process_column, healthy FROM audit.attachments WHERE target = 't'::regclass;
INSERT INTO t VALUES (3, 'a', 'ids-1', 11), (4, 'b', '', NULL), (5, 'c', 'ids-2', 12);
UPDATE t SET v = v || '!', req = 'ids-3', proc = proc + 10 WHERE id IN (3, 4);
UPDATE t SET req = NULL, proc = NULL WHERE id = 5;
DELETE FROM t WHERE id IN (2, 3);
COPY t FROM stdin;
6	copied	ids-4	14
7	copied	ids-5	\N
8	copied	\N	15
\.
MERGE INTO t USING (VALUES (6, 'ids-6'), (9, 'ids-7')) AS s (id, req) ON s.id = t.id
WHEN MATCHED THEN UPDATE SET req = s.req WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged', s.req, 16);
SELECT op, key, request_id, process_id, changed FROM ids;

-- A change that leaves the column alone is ascribed to the id that the row has
UPDATE t SET v = 'left alone' WHERE id = 6;
SELECT op, key, request_id, process_id, changed FROM ids;

-- What is in the context wins, each id for itself
BEGIN;
SET LOCAL audit.request_id = 'ids-context';
UPDATE t SET v = 'both', req = 'ids-8', proc = 17 WHERE id = 6;
SET LOCAL audit.process_id = 'ids-process';
UPDATE t SET v = 'none' WHERE id = 6;
SET LOCAL audit.request_id = '';
UPDATE t SET v = 'request' WHERE id = 6;
COMMIT;
SELECT op, key, request_id, process_id FROM ids;
-- so does a sqlcommenter comment
SET audit.read_sqlcommenter = on;
UPDATE t SET v = 'comment' WHERE id = 6 /*request_id='ids-comment'*/;
UPDATE t SET v = 'no comment' WHERE id = 6;
RESET audit.read_sqlcommenter;
SELECT op, key, request_id, process_id FROM ids;

-- require asks for the context, whatever the row says
SELECT audit.attach('t', request_column => 'req', process_column => 'proc', require => '{request_id}');
INSERT INTO t VALUES (10, 'refused', 'ids-9', 18);
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SET LOCAL audit.request_id = 'ids-required';
INSERT INTO t VALUES (10, 'told', 'ids-9', 18);
COMMIT;
SELECT op, key, request_id, process_id FROM ids;

-- diff keeps the changed columns of a row, and takes the ids of all of it
SELECT audit.attach('t', capture => 'diff', request_column => 'req', process_column => 'proc');
UPDATE t SET v = 'diff' WHERE id = 6;
SELECT t.op, t.old, t.new, e.request_id, e.process_id FROM look() t JOIN audit.audit_events e USING (event_id) WHERE t.op = 'update';

-- TRUNCATE: row by row it takes each row's, in one event none
SELECT audit.attach('t', on_truncate => 'rows', request_column => 'req', process_column => 'proc');
TRUNCATE t;
SELECT op, key, request_id, process_id FROM ids;
SELECT audit.attach('t', request_column => 'req', process_column => 'proc');
INSERT INTO t VALUES (1, 'x', 'ids-10', 20);
TRUNCATE t;
SELECT op, key, request_id, process_id FROM ids;

-- Types print as in row_key, whatever the session's settings; a long id is cut as one from the context is
CREATE TABLE typed (id uuid PRIMARY KEY, at timestamptz);
SELECT audit.attach('typed', request_column => 'id', process_column => 'at');
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
INSERT INTO typed VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2024-02-03 04:05:06+00');
RESET timezone;
RESET datestyle;
SELECT key, request_id, process_id FROM ids;
CREATE TABLE long (id text PRIMARY KEY, req text);
SELECT audit.attach('long', request_column => 'req');
INSERT INTO long VALUES ('row', repeat('é', 700));
BEGIN;
SELECT set_config('audit.request_id', repeat('é', 700), true) IS NOT NULL AS set;
INSERT INTO long VALUES ('context', NULL);
COMMIT;
INSERT INTO long VALUES ('wide', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i));
SELECT key, octet_length(request_id) AS bytes, left(request_id, 3) AS head, right(request_id, 1) AS tail,
       request_id = first_value(request_id) OVER (ORDER BY event_id) AS same FROM ids ORDER BY event_id;
-- a column that is computed
CREATE TABLE computed (id int PRIMARY KEY, req text GENERATED ALWAYS AS ('ids-computed-' || id) STORED);
SELECT audit.attach('computed', request_column => 'req');
INSERT INTO computed VALUES (1);
UPDATE computed SET id = 2;
SELECT op, key, request_id FROM ids;

-- Many rows with ids of their own, every third without: the index has each
CREATE TABLE many (id int PRIMARY KEY, req text);
SELECT audit.attach('many', request_column => 'req');
INSERT INTO many SELECT i, CASE WHEN i % 3 > 0 THEN 'ids-many-' || i % 2000 END FROM generate_series(1, 5000) AS i;
SELECT count(*) FILTER (WHERE e.request_id IS DISTINCT FROM e.new_values ->> 'req') AS wrong, count(e.request_id) AS with_id
FROM audit.audit_events e WHERE e.table_oid = 'many'::regclass AND e.operation = 'insert';
SET enable_seqscan = off;
SELECT count(*) FROM generate_series(0, 1999) AS i
CROSS JOIN LATERAL (SELECT FROM audit.audit_events e WHERE e.request_id = 'ids-many-' || i) AS found;
RESET enable_seqscan;
SELECT count(*) FROM many WHERE req IS NOT NULL;
SELECT count(*) FROM look();

-- Foreign-key actions: each row has its own
CREATE TABLE parent (id int PRIMARY KEY, req text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, req text);
SELECT audit.attach('parent', request_column => 'req'), audit.attach('child', request_column => 'req');
INSERT INTO parent VALUES (1, 'ids-parent');
INSERT INTO child VALUES (1, 1, 'ids-child-1'), (2, 1, 'ids-child-2');
UPDATE parent SET id = 3;
DELETE FROM parent;
SELECT op, tab, key, request_id FROM ids ORDER BY event_id;

-- Partitions with columns at other places, rows that move; a partition made later
CREATE TABLE parted (id int, v int, req text, proc text, PRIMARY KEY (id, v)) PARTITION BY RANGE (v);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_high (proc text, gone int, req text, v int NOT NULL, id int NOT NULL);
ALTER TABLE parted_high DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_high FOR VALUES FROM (10) TO (20);
SELECT audit.attach('parted', request_column => 'req', process_column => 'proc');
INSERT INTO parted VALUES (1, 1, 'ids-low', 'p-low'), (2, 11, 'ids-high', 'p-high');
INSERT INTO parted_high VALUES ('p-direct', 'ids-direct', 12, 3);
UPDATE parted SET v = v + 10, req = 'ids-moved', proc = 'p-moved' WHERE id = 1;
CREATE TABLE parted_more PARTITION OF parted FOR VALUES FROM (20) TO (30);
INSERT INTO parted VALUES (4, 21, 'ids-more', 'p-more');
TRUNCATE parted_high;
SELECT op, tab, key, request_id, process_id FROM ids ORDER BY event_id;

-- Inheritance: recorded row by row; a child without the column has no such setting
CREATE TABLE base (id int PRIMARY KEY, req text);
CREATE TABLE kid (proc text) INHERITS (base);
SELECT audit.attach('base', request_column => 'req'), audit.attach('kid', request_column => 'req', process_column => 'proc', key_columns => '{id}');
INSERT INTO base VALUES (1, 'ids-base');
INSERT INTO kid VALUES (2, 'ids-kid', 'p-kid');
UPDATE base SET req = req || '!';
DELETE FROM base;
SELECT op, tab, key, request_id, process_id FROM ids ORDER BY xact_id, tab, event_id;
CREATE TABLE grandkid () INHERITS (kid);
ALTER TABLE grandkid NO INHERIT kid;
SELECT table_name, request_column, process_column, healthy FROM audit.attachments WHERE schema_name = 'regress_ids_from_columns' AND table_name LIKE '%kid' ORDER BY 1;

-- Renamed columns are followed; a setting falls away with its column, and the ddl event tells
CREATE TABLE ddl (id int PRIMARY KEY, req text, proc text, secret text);
SELECT audit.attach('ddl', mask => '{secret}', request_column => 'req', process_column => 'proc');
ALTER TABLE ddl RENAME COLUMN req TO request;
ALTER TABLE ddl RENAME COLUMN proc TO proc_token;
INSERT INTO ddl VALUES (1, 'ids-renamed', 'p-renamed', 's');
SELECT request_column, process_column, mask, healthy FROM audit.attachments WHERE target = 'ddl'::regclass;
ALTER TABLE ddl DROP COLUMN request;
INSERT INTO ddl VALUES (2, 'p-dropped', 's');
SELECT request_column, process_column, mask, healthy FROM audit.attachments WHERE target = 'ddl'::regclass;
ALTER TABLE ddl ADD COLUMN request text;
INSERT INTO ddl VALUES (3, 'p-added', 's', 'ids-no-more');
ALTER TABLE ddl ALTER COLUMN proc_token TYPE varchar(50);
INSERT INTO ddl VALUES (4, 'p-retyped', 's', NULL);
SELECT t.op, t.command, t.key, e.request_id, e.process_id FROM look() t JOIN audit.audit_events e USING (event_id) WHERE t.tab = 'ddl' AND t.op <> 'system';
-- what was renamed unseen is shown; and no name that comes back later makes a masked column an id
SELECT audit.attach('ddl', mask => '{secret}', request_column => 'request', process_column => 'proc_token');
BEGIN;
ALTER EVENT TRIGGER audit_ddl_command_end DISABLE;
ALTER TABLE ddl RENAME COLUMN proc_token TO proc;
ALTER EVENT TRIGGER audit_ddl_command_end ENABLE ALWAYS;
COMMIT;
SELECT problems FROM audit.attachments WHERE target = 'ddl'::regclass;
ALTER TABLE ddl RENAME COLUMN secret TO hidden;
INSERT INTO ddl (id, proc, hidden, request) VALUES (5, 'p', 'a secret', 'ids-ddl');
SELECT request_column, process_column, mask, healthy FROM audit.attachments WHERE target = 'ddl'::regclass;
SELECT key, request_id, process_id FROM ids;

-- A schema: where a table has such columns, those made later too
CREATE SCHEMA regress_ids_all;
CREATE TABLE regress_ids_all.with_both (id int PRIMARY KEY, request_id text, process_id text);
CREATE TABLE regress_ids_all.without (id int PRIMARY KEY);
SELECT audit.attach_schema('regress_ids_all', request_column => 'request_id', process_column => 'process_id');
CREATE TABLE regress_ids_all.later (id int PRIMARY KEY, request_id int);
INSERT INTO regress_ids_all.with_both VALUES (1, 'ids-schema', 'p-schema');
INSERT INTO regress_ids_all.later VALUES (1, 77);
INSERT INTO regress_ids_all.without VALUES (1);
SELECT tab, request_id, process_id FROM ids ORDER BY event_id;
SELECT table_name, request_column, process_column FROM audit.attachments WHERE schema_name = 'regress_ids_all' ORDER BY 1;

-- Again with the same settings it is as it was; without them the setting ends
SET client_min_messages = notice;
SELECT audit.attach('parent', request_column => 'req');
SET client_min_messages = warning;
SELECT audit.attach('parent');
INSERT INTO parent VALUES (9, 'ids-unset');
SELECT key, request_id FROM ids;

-- Bad input
CREATE TABLE bad (id int PRIMARY KEY, req text, token text);
SELECT audit.attach('bad', request_column => 'nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('bad', process_column => '');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('bad', request_column => 'ctid');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('bad', request_column => 'req', mask => '{req}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('bad', process_column => 'req', exclude => '{req}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_with('bad', '{"request_column": ["req"]}', false);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.attachments WHERE target = 'bad'::regclass;
-- a column that is named by name is not masked by its name
SELECT audit.attach('bad', request_column => 'token');
SELECT request_column, mask FROM audit.attachments WHERE target = 'bad'::regclass;

-- Lineage finds such events, with their processes
BEGIN;
SELECT audit.begin_process('import', request_id => 'ids-lineage', process_id => 'ids-import');
COMMIT;
INSERT INTO parted VALUES (5, 1, 'ids-lineage', 'ids-import'), (6, 1, 'another', 'ids-import');
INSERT INTO parent VALUES (1, NULL);
INSERT INTO child VALUES (1, 1, 'ids-lineage');
SELECT place, process_path, operation, table_name, row_key, request_id FROM audit.lineage('ids-lineage');
SELECT request_id, process_path FROM audit.row_lineage('child', '1') ORDER BY version DESC LIMIT 1;

SELECT t, r.* FROM unnest('{typed,long,computed,parent,child,parted,base,kid}'::regclass[]) AS t, replay_mismatches(t) AS r;
SELECT audit.detach_schema('regress_ids_all', 'the test is over');
SELECT count(audit.detach(target, 'the test is over')) FROM audit.attachments WHERE schema_name = 'regress_ids_from_columns';
DROP SCHEMA regress_ids_all, regress_ids_from_columns CASCADE;
