-- Cases 25, 26, 27: DDL on attached tables is recorded and followed, in the transaction of the writes too.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_ddl;
SET search_path = regress_ddl;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, v text, password text);
SELECT audit.attach('t', baseline => true);
INSERT INTO t VALUES (1, 'a', 'p');

-- case 26: columns come, go, change name and type between the writes of one transaction
BEGIN;
ALTER TABLE t ADD COLUMN n numeric DEFAULT 1.50;
INSERT INTO t VALUES (2, 'b', 'q', 2.50);
ALTER TABLE t RENAME COLUMN password TO pw;
UPDATE t SET pw = 'r', v = 'c' WHERE id = 2;
ALTER TABLE t DROP COLUMN v;
UPDATE t SET n = n + 1;
ALTER TABLE t ALTER COLUMN n TYPE text USING n::text || '!';
UPDATE t SET n = 'x' WHERE id = 1;
ALTER TABLE t RENAME COLUMN id TO ident;
DELETE FROM t WHERE ident = 1;
INSERT INTO t VALUES (3, 'hidden', '4');
COMMIT;
SELECT op, key, old, new, changed, command FROM look() WHERE op <> 'system';
-- a renamed masked column stays masked
SELECT mask, healthy FROM audit.attachments WHERE target = 't'::regclass;

-- case 26: the table's name and schema
ALTER TABLE t RENAME TO t2;
INSERT INTO t2 VALUES (4, 's', '5');
CREATE SCHEMA regress_ddl_2;
ALTER TABLE t2 SET SCHEMA regress_ddl_2;
INSERT INTO regress_ddl_2.t2 VALUES (5, 's', '5');
ALTER SCHEMA regress_ddl_2 RENAME TO regress_ddl_3;
INSERT INTO regress_ddl_3.t2 VALUES (6, 's', '5');
SELECT op, schema_name, tab, key, action, command FROM look();
-- one identity all along
SELECT count(DISTINCT table_oid) AS identities, count(DISTINCT schema_name || '.' || table_name) AS names
FROM audit.audit_events WHERE table_oid = 'regress_ddl_3.t2'::regclass;

-- case 25: triggers that are disabled, dropped or renamed
ALTER TABLE regress_ddl_3.t2 DISABLE TRIGGER audit_insert;
SELECT healthy, problems FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
INSERT INTO regress_ddl_3.t2 VALUES (7);
ALTER TABLE regress_ddl_3.t2 ENABLE TRIGGER audit_insert;
SELECT healthy, problems FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
ALTER TABLE regress_ddl_3.t2 ENABLE ALWAYS TRIGGER audit_insert;
SELECT healthy, problems FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
DROP TRIGGER audit_update ON regress_ddl_3.t2;
DROP TRIGGER "00_audit_order" ON regress_ddl_3.t2;
SELECT healthy, problems FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
-- no write fails; what is still there records
INSERT INTO regress_ddl_3.t2 VALUES (8);
UPDATE regress_ddl_3.t2 SET n = 'q' WHERE ident = 8;
SELECT op, key, action, command FROM look();
SELECT audit.attach('regress_ddl_3.t2', mask => '{pw}');
SELECT healthy, problems FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
ALTER TRIGGER audit_delete ON regress_ddl_3.t2 RENAME TO mine;
DELETE FROM regress_ddl_3.t2 WHERE ident = 8;
SELECT op, key, action, command FROM look();
-- all triggers off and on again: nothing is recorded twice
ALTER TABLE regress_ddl_3.t2 DISABLE TRIGGER USER;
ALTER TABLE regress_ddl_3.t2 ENABLE TRIGGER USER;
SELECT healthy FROM audit.attachments WHERE target = 'regress_ddl_3.t2'::regclass;
INSERT INTO regress_ddl_3.t2 VALUES (9);
UPDATE regress_ddl_3.t2 SET n = 'z' WHERE ident = 9;
DELETE FROM regress_ddl_3.t2 WHERE ident = 9;
SELECT op, key FROM look() WHERE op <> 'ddl';

-- case 27: the history of a dropped table stays; a new table of its name is not audited
DROP TABLE regress_ddl_3.t2;
CREATE TABLE regress_ddl_3.t2 (ident int);
INSERT INTO regress_ddl_3.t2 VALUES (1);
SELECT op, schema_name, tab, action, command FROM look();
SELECT count(*) AS attached FROM audit.attachments WHERE schema_name LIKE 'regress_ddl%';
SELECT count(*) > 10 AS history, count(DISTINCT table_oid) AS identities FROM audit.audit_events WHERE schema_name = 'regress_ddl_3' AND table_name = 't2';
SELECT audit.attach('regress_ddl_3.t2');
INSERT INTO regress_ddl_3.t2 VALUES (2);
SELECT count(DISTINCT table_oid) AS identities FROM audit.audit_events WHERE schema_name = 'regress_ddl_3' AND table_name = 't2';
DROP SCHEMA regress_ddl_3 CASCADE;
SELECT op, schema_name, tab, key, action, command FROM look();

-- case 26: settings follow columns' names; a dropped column leaves them
CREATE TABLE s (id int PRIMARY KEY, a text, b text, c int);
SELECT audit.attach('s', mask => '{a}', exclude => '{c}', key_columns => '{id,b}');
-- two columns that swap names: it is the column that is masked
BEGIN;
ALTER TABLE s RENAME a TO x;
ALTER TABLE s RENAME b TO a;
ALTER TABLE s RENAME x TO b;
COMMIT;
INSERT INTO s VALUES (1, 'hidden', 'shown', 2);
SELECT mask, exclude, key_columns, healthy FROM audit.attachments WHERE target = 's'::regclass;
ALTER TABLE s RENAME c TO d;
INSERT INTO s VALUES (2, 'hidden', 'shown', 2);
ALTER TABLE s DROP COLUMN d;
ALTER TABLE s ADD COLUMN d int;
INSERT INTO s VALUES (3, 'hidden', 'shown', 4);
ALTER TABLE s DROP COLUMN a;
INSERT INTO s VALUES (4, 'hidden', 5);
SELECT mask, exclude, key_columns, healthy FROM audit.attachments WHERE target = 's'::regclass;
SELECT op, key, new FROM look() WHERE op = 'insert';

-- a type that goes takes its column along
CREATE TYPE kind AS ENUM ('a');
CREATE TABLE k (id int PRIMARY KEY, e kind, secret kind);
SELECT audit.attach('k');
INSERT INTO k VALUES (1, 'a', 'a');
DROP TYPE kind CASCADE;
INSERT INTO k VALUES (2);
SELECT op, tab, key, new, command FROM look() WHERE op <> 'system';
SELECT mask, healthy FROM audit.attachments WHERE target = 'k'::regclass;

-- a secret that comes later is masked as well
ALTER TABLE k ADD COLUMN api_token text;
INSERT INTO k VALUES (3, 'tok');
SELECT key, new FROM look() WHERE op = 'insert';

-- the primary key goes, comes back otherwise; no key splits within the writes of one shape
CREATE TABLE a (id int, b int, PRIMARY KEY (id));
SELECT audit.attach('a');
INSERT INTO a VALUES (1, 2);
ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (b);
UPDATE a SET id = 5;
ALTER TABLE a DROP CONSTRAINT a_pkey;
UPDATE a SET id = 6;
ALTER TABLE a ADD PRIMARY KEY (id, b);
UPDATE a SET b = 9;
SELECT op, key, old_key FROM look() WHERE op IN ('insert', 'update');

-- not unlogged; plans made before the DDL
PREPARE ins AS INSERT INTO a VALUES ($1, $2);
EXECUTE ins (20, 1);
ALTER TABLE a ADD COLUMN z int DEFAULT 7;
EXECUTE ins (21, 2);
ALTER TABLE a SET UNLOGGED;
EXECUTE ins (22, 3);
EXECUTE ins (23, 4);
SELECT key, new FROM look() WHERE op = 'insert';

-- a column added with a default; one that is computed for each row
CREATE TABLE f (id int PRIMARY KEY);
SELECT audit.attach('f', baseline => true);
INSERT INTO f VALUES (1), (2);
ALTER TABLE f ADD COLUMN fast int DEFAULT 7;
ALTER TABLE f ADD COLUMN twice int GENERATED ALWAYS AS (id * 2) STORED;
UPDATE f SET fast = 8 WHERE id = 1;
DELETE FROM f WHERE id = 2;
SELECT op, key, old, new, changed FROM look() WHERE op IN ('update', 'delete');

-- attach, and DDL, and writes, and a rollback of part of it, in one transaction
BEGIN;
CREATE TABLE g (id int PRIMARY KEY, v text);
SELECT audit.attach('g', baseline => true);
INSERT INTO g VALUES (1, 'a');
SAVEPOINT p;
ALTER TABLE g DROP COLUMN v;
INSERT INTO g VALUES (2);
ROLLBACK TO p;
INSERT INTO g VALUES (2, 'b');
ALTER TABLE g RENAME TO h;
UPDATE h SET v = 'c';
COMMIT;
SELECT op, tab, key, new, command FROM look();
SELECT * FROM replay_mismatches('h');

DROP SCHEMA regress_ddl CASCADE;
