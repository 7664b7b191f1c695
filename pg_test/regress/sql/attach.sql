-- Attach, attach again, detach; a whole schema, with the tables to come.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_attach;
SET search_path = regress_attach;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'before'), (2, 'before');

-- attach: the rows that are there stay unrecorded, or become snapshot events
SELECT audit.attach('t');
SELECT op, tab, key, new, action FROM look();
SELECT audit.detach('t', 'to start again');
SELECT audit.attach('t', baseline => true);
INSERT INTO t VALUES (3, 'after');
SELECT op, tab, key, new, action, reason FROM look();
SELECT * FROM replay_mismatches('t');

-- the same settings again change nothing; others are an event of their own
SELECT audit.attach('t');
SELECT op, action FROM look();
SELECT audit.attach('t', capture => 'diff', exclude => '{v}');
SELECT op, action FROM look();
SELECT target, capture, operations, exclude, mask, key_columns, require, on_truncate, skip_unchanged, attached_by = session_user AS mine, healthy, problems
FROM audit.attachments WHERE schema_name = 'regress_attach';

-- attach again repairs broken triggers
ALTER TABLE t DISABLE TRIGGER audit_insert;
DROP TRIGGER audit_update ON t;
SELECT problems FROM audit.attachments WHERE target = 't'::regclass;
SELECT audit.attach('t', capture => 'diff', exclude => '{v}');
SELECT healthy, problems FROM audit.attachments WHERE target = 't'::regclass;
SELECT op, action, command FROM look();

-- attach, detach and their events are the transaction's: rolled back with it
BEGIN;
SELECT audit.detach('t', 'rolled back');
ROLLBACK;
BEGIN;
CREATE TABLE u (id int PRIMARY KEY);
SAVEPOINT a;
SELECT audit.attach('u');
INSERT INTO u VALUES (1);
ROLLBACK TO a;
INSERT INTO u VALUES (2);
COMMIT;
SELECT target FROM audit.attachments WHERE schema_name = 'regress_attach';
SELECT op, tab FROM look();
BEGIN;
SELECT audit.attach('u', baseline => true);
INSERT INTO u VALUES (3);
COMMIT;
SELECT op, tab, key FROM look();
SELECT * FROM replay_mismatches('u');

-- from within a trigger of the table: the statement that detaches is itself recorded
CREATE FUNCTION sly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.detach(tg_relid::regclass, 'sly');
    RETURN new;
END
$$;
CREATE TRIGGER sly BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION sly();
INSERT INTO u VALUES (4);
SELECT op, tab, key, action, reason FROM look() ORDER BY op, action;
DROP TRIGGER sly ON u;

-- detach: the reason is recorded, the triggers go, the events stay
SELECT audit.detach('t', 'moved to another system');
INSERT INTO t VALUES (4, 'unseen');
SELECT op, tab, action, reason FROM look();
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 't'::regclass;
SELECT target FROM audit.attachments WHERE schema_name = 'regress_attach';
SELECT op, count(*) FROM trail WHERE schema_name = 'regress_attach' AND tab = 't' AND op <> 'ddl' GROUP BY 1 ORDER BY 1;
DROP TABLE t, u;

-- a schema: what is there, what comes; views and unlogged tables are left out
CREATE SCHEMA regress_attach_all;
CREATE TABLE regress_attach_all.one (id int PRIMARY KEY, token text);
CREATE VIEW regress_attach_all.a_view AS SELECT 1 AS x;
CREATE UNLOGGED TABLE regress_attach_all.unlogged (i int);
CREATE TABLE regress_attach_all.part (i int) PARTITION BY RANGE (i);
CREATE TABLE regress_attach_all.part_1 PARTITION OF regress_attach_all.part DEFAULT;
CREATE TABLE moved (id int PRIMARY KEY);
SELECT audit.attach_schema('regress_attach_all');
CREATE TABLE regress_attach_all.two (id int);
CREATE TABLE regress_attach_all.three AS SELECT 1 AS id, 'x' AS secret;
SELECT 5 AS id INTO regress_attach_all.four;
CREATE TABLE regress_attach_all.five (LIKE regress_attach_all.one);
CREATE UNLOGGED TABLE regress_attach_all.unlogged_2 (i int);
CREATE TABLE regress_attach_all.part_2 PARTITION OF regress_attach_all.part FOR VALUES FROM (1) TO (2);
CREATE MATERIALIZED VIEW regress_attach_all.a_matview AS SELECT 1 AS x;
ALTER TABLE moved SET SCHEMA regress_attach_all;
ALTER TABLE regress_attach_all.unlogged SET LOGGED;
SELECT target, mask, healthy FROM audit.attachments WHERE schema_name = 'regress_attach_all' ORDER BY table_name;
INSERT INTO regress_attach_all.two VALUES (1);
INSERT INTO regress_attach_all.three VALUES (2, 'hidden');
INSERT INTO regress_attach_all.five VALUES (3, 'hidden');
INSERT INTO regress_attach_all.part_2 VALUES (1);
INSERT INTO regress_attach_all.moved VALUES (4);
SELECT op, tab, key, new FROM look() WHERE op = 'insert';

-- under another name it is the same schema
ALTER SCHEMA regress_attach_all RENAME TO regress_attach_renamed;
CREATE TABLE regress_attach_renamed.seven (id int PRIMARY KEY);
SELECT schema FROM audit.attached_schema;
SELECT target, healthy FROM audit.attachments WHERE table_name = 'seven';
DROP TABLE regress_attach_renamed.seven;
ALTER SCHEMA regress_attach_renamed RENAME TO regress_attach_all;
SELECT schema FROM audit.attached_schema;
SELECT count(*) > 0 AS recorded FROM look();

-- again, with other settings: columns count where a table has them
SELECT audit.attach_schema('regress_attach_all', exclude => '{token,nosuch}', operations => '{insert}', baseline => true);
CREATE TABLE regress_attach_all.six (id int, token text);
INSERT INTO regress_attach_all.six VALUES (1, 'left out');
DELETE FROM regress_attach_all.six;
SELECT op, tab, new FROM look() WHERE tab IN ('six', 'moved') AND op IN ('snapshot', 'insert', 'delete');
SELECT target, exclude, mask, operations FROM audit.attachments WHERE schema_name = 'regress_attach_all' AND table_name IN ('one', 'three', 'six') ORDER BY 1;

-- a table that leaves stays attached; the schema's end is the end of all that are in it
ALTER TABLE regress_attach_all.six SET SCHEMA regress_attach;
SELECT audit.detach_schema('regress_attach_all', 'archived');
CREATE TABLE regress_attach_all.later (i int);
SELECT target FROM audit.attachments WHERE schema_name LIKE 'regress_attach%';
SELECT tab, action, reason FROM look() WHERE action = 'detach' ORDER BY tab;
\set VERBOSITY sqlstate
SELECT audit.detach_schema('regress_attach_all', 'again');
\set VERBOSITY default

DROP SCHEMA regress_attach_all CASCADE;
DROP SCHEMA regress_attach CASCADE;
