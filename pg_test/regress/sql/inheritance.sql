-- Legacy inheritance trees: each member under its own name, whichever member the statement names.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_inheritance;
SET search_path = regress_inheritance;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

-- case 21: children that are there, that differ in shape, that come later
CREATE TABLE base (id int PRIMARY KEY, v text);
CREATE TABLE kid (extra int, PRIMARY KEY (id)) INHERITS (base);
CREATE TABLE odd (other date, v text, id int PRIMARY KEY);
ALTER TABLE odd INHERIT base;
SELECT audit.attach('base', baseline => true);
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_inheritance' ORDER BY table_name;
INSERT INTO base VALUES (1, 'b');
INSERT INTO kid VALUES (2, 'k', 5);
INSERT INTO odd VALUES ('2024-01-01', 'o', 3);
UPDATE base SET v = v || '!';
UPDATE ONLY base SET v = v || '?';
UPDATE odd SET v = 'direct';
DELETE FROM base WHERE id = 2;
SELECT op, tab, key, old, new, changed FROM look() WHERE op <> 'system';
CREATE TABLE late () INHERITS (base);
CREATE TABLE grandkid (deep text) INHERITS (kid);
INSERT INTO late VALUES (4, 'l');
INSERT INTO grandkid VALUES (5, 'g', 1, 'deep');
UPDATE kid SET v = 'from kid';
UPDATE base SET v = 'from base';
SELECT op, tab, key, new FROM look() WHERE op NOT IN ('system', 'ddl') ORDER BY xact_id, statement_id, tab, key;
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_inheritance' ORDER BY table_name;
SELECT t, r.* FROM unnest('{base,kid,odd,late,grandkid}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- TRUNCATE, with and without the children; COPY and a writable CTE
TRUNCATE ONLY base;
TRUNCATE base;
COPY base FROM stdin;
7	c
8	d
\.
WITH x AS (INSERT INTO base VALUES (9, 'w') RETURNING *) UPDATE base SET v = 'w2' WHERE id = 7;
INSERT INTO kid VALUES (2, 'k', 5);
INSERT INTO odd VALUES ('2024-01-01', 'o', 3);
SELECT op, tab, key FROM look() WHERE op NOT IN ('system', 'ddl') ORDER BY op = 'truncate' DESC, xact_id, statement_id, tab, event_id;
SELECT t, r.* FROM unnest('{base,kid,odd,late,grandkid}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- a child that leaves is audited on; the parent without children too
ALTER TABLE odd NO INHERIT base;
UPDATE base SET v = 'x';
UPDATE odd SET v = 'y';
DROP TABLE kid CASCADE;
DROP TABLE late;
UPDATE base SET v = 'z';
SELECT op, tab, key, new FROM look() WHERE op NOT IN ('system', 'ddl') ORDER BY xact_id, statement_id, tab, key;
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_inheritance' ORDER BY table_name;
SELECT t, r.* FROM unnest('{base,odd}'::regclass[]) AS t, replay_mismatches(t) AS r;
SELECT audit.detach('base', 'done'), audit.detach('odd', 'done');
DROP TABLE base, odd;

-- a member attached alone: what comes by way of its parent is recorded, the parent's rows are not
CREATE TABLE base (id int PRIMARY KEY, v text);
CREATE TABLE kid (PRIMARY KEY (id)) INHERITS (base);
SELECT audit.attach('kid');
SELECT op, tab FROM look() WHERE op = 'insert';
INSERT INTO base VALUES (1, 'b');
INSERT INTO kid VALUES (2, 'k');
UPDATE base SET v = 'via base';
DELETE FROM base;
TRUNCATE base;
SELECT op, tab, key, new FROM look() WHERE op <> 'system';
DROP TABLE base CASCADE;

-- a child with secrets of its own has them masked; it keeps the settings that it had by itself
CREATE TABLE base (id int PRIMARY KEY, v text);
SELECT audit.attach('base');
CREATE TABLE kid (password text) INHERITS (base);
CREATE TABLE own (id int PRIMARY KEY, v text, token text);
SELECT audit.attach('own', mask => '{v}');
ALTER TABLE own INHERIT base;
INSERT INTO kid VALUES (1, 'shown', 'hidden');
INSERT INTO own VALUES (2, 'hidden', 'shown');
UPDATE base SET v = v || '!';
SELECT op, tab, new FROM look() WHERE op IN ('insert', 'update');
SELECT target, mask, healthy FROM audit.attachments WHERE schema_name = 'regress_inheritance' ORDER BY table_name;
DROP TABLE base CASCADE;

-- two parents, each with triggers
CREATE TABLE mother (id int PRIMARY KEY);
CREATE TABLE father (x int);
CREATE TABLE kid () INHERITS (mother, father);
SELECT audit.attach('mother');
SELECT audit.attach('father');
INSERT INTO kid VALUES (1, 2);
UPDATE father SET x = 3;
UPDATE mother SET id = 5;
DELETE FROM father;
SELECT op, tab, old, new FROM look() WHERE op IN ('insert', 'update', 'delete');
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_inheritance' ORDER BY table_name;

DROP SCHEMA regress_inheritance CASCADE;
