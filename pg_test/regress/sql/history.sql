-- The history of a row and who set what: across changes of the key, the names of table and columns, TRUNCATE, and keys that are used again.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_history;
CREATE SCHEMA regress_history_moved;
SET search_path = regress_history;
\set SHOW_CONTEXT never
CREATE TABLE items (id int PRIMARY KEY DEFERRABLE, name text, qty numeric, api_token text);
SELECT audit.attach('items');
INSERT INTO items VALUES (1, 'apple', 1.5, 'k1'), (2, 'pear', 2, NULL);
UPDATE items SET qty = 1.50, api_token = 'k2' WHERE id = 1;
ALTER TABLE items RENAME qty TO amount;
UPDATE items SET id = 10 WHERE id = 1;
INSERT INTO items VALUES (1, 'again', 9);
ALTER TABLE items RENAME TO stock;
ALTER TABLE stock ADD COLUMN unit text DEFAULT 'kg', ADD COLUMN note text;
ALTER TABLE stock SET SCHEMA regress_history_moved;
ALTER SCHEMA regress_history_moved RENAME TO regress_history_new;
SET search_path = regress_history_new, regress_history;
UPDATE stock SET name = 'Apple' WHERE id = 10;
-- Two rows swap their keys in one statement
UPDATE stock SET id = 12 - id WHERE id IN (2, 10);
DELETE FROM stock WHERE id = 1;
ALTER TABLE stock DROP COLUMN name;
ALTER TABLE stock ADD COLUMN name int;
UPDATE stock SET name = 7 WHERE id = 2;

-- Key 1 had two rows; the first went on as 10, then as 2
SELECT version, life, operation AS op, row_key AS key, changes FROM audit.history('stock', '1');
SELECT version, life, operation AS op, row_key AS key FROM audit.history('stock', '2');
SELECT version, life, operation AS op, row_key AS key FROM audit.history('stock', '10');
SELECT count(*) FROM audit.history('stock', 'nosuch');
SELECT column_name, value, operation AS op, (SELECT action FROM audit.audit_events e WHERE e.event_id = b.event_id) AS ddl FROM audit.blame('stock', '2') b;
-- A row that is gone has nobody to blame
SELECT count(*) FROM audit.blame('stock', '1');

-- Rolled-back attempts leave nothing; one transaction's changes stand in the order of its statements, triggers' own included
CREATE TABLE steps (id int PRIMARY KEY, n int, m int);
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN UPDATE regress_history.steps SET m = new.n * 10 WHERE id = new.id; END IF;
    RETURN NULL;
END $$;
ALTER TABLE steps SET SCHEMA regress_history;
CREATE TRIGGER bump AFTER UPDATE ON steps FOR EACH ROW EXECUTE FUNCTION bump();
SELECT audit.attach('steps', capture => 'diff');
BEGIN;
INSERT INTO steps VALUES (1, 0, 0);
SAVEPOINT s; UPDATE steps SET n = 99; ROLLBACK TO s;
UPDATE steps SET n = 1;
UPDATE steps SET n = 2;
COMMIT;
SELECT version, operation AS op, changes FROM audit.history('steps', '1');

-- TRUNCATE ends the rows that were there, and none else; keys of several columns; a partitioned table
CREATE TABLE parts (a int, b text, v int, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
SELECT audit.attach('parts');
INSERT INTO parts VALUES (1, 'x, (y)', 1), (2, '', 2);
TRUNCATE parts;
INSERT INTO parts VALUES (1, 'x, (y)', 3);
UPDATE parts SET a = 2 WHERE a = 1;
TRUNCATE parts;
TRUNCATE parts;
SELECT version, life, operation AS op, row_key AS key, changes FROM audit.history('parts', '(1,"x, (y)")');
SELECT version, life, operation AS op FROM audit.history('parts_2', '(2,"")');

-- A dropped table's history does not become that of a new one of its name
DROP TABLE parts;
CREATE TABLE parts (a int, b text, v int, PRIMARY KEY (a, b));
SELECT audit.attach('parts');
INSERT INTO parts VALUES (1, 'x, (y)', 4);
SELECT version, life, operation AS op FROM audit.history('parts', '(1,"x, (y)")');
-- Detached, renamed unseen, attached again: the same table
SELECT audit.detach('parts', 'a pause');
ALTER TABLE parts RENAME TO pieces;
UPDATE pieces SET v = 5;
SELECT audit.attach('pieces', baseline => true);
UPDATE pieces SET v = 6;
SELECT version, life, operation AS op, changes FROM audit.history('pieces', '(1,"x, (y)")');
-- The value of b was found, not set
SELECT column_name, value, operation AS op FROM audit.blame('pieces', '(1,"x, (y)")');

-- What changed between two moments: net, and event by event
CREATE TABLE ledger (id int PRIMARY KEY DEFERRABLE, v text);
CREATE TABLE diffs (id int PRIMARY KEY, v text, w text);
CREATE TABLE bare (v text);
SELECT audit.attach('ledger'), audit.attach('diffs', capture => 'diff'), audit.attach('bare');
INSERT INTO ledger SELECT g, 'old' FROM generate_series(1, 6) g;
INSERT INTO diffs VALUES (1, 'a', 'b'), (2, 'c', 'd'), (3, 'e', 'f');
SELECT clock_timestamp() AS t1 \gset
SET audit.app_user_id = 'ann'; SET audit.reason = 'first';
UPDATE ledger SET v = 'new' WHERE id = 1; UPDATE ledger SET v = 'newer' WHERE id = 1;
RESET audit.app_user_id; SET audit.reason = 'second';
UPDATE ledger SET v = 'x' WHERE id = 2; UPDATE ledger SET v = 'old' WHERE id = 2;
UPDATE ledger SET id = 7 - id WHERE id IN (3, 4);
DELETE FROM ledger WHERE id = 5;
DELETE FROM ledger WHERE id = 6; INSERT INTO ledger VALUES (6, 'reborn');
INSERT INTO ledger VALUES (7, 'brief'); DELETE FROM ledger WHERE id = 7;
INSERT INTO ledger VALUES (8, 'kept');
UPDATE diffs SET v = 'A' WHERE id = 1; UPDATE diffs SET w = 'B' WHERE id = 1; UPDATE diffs SET id = 9 WHERE id = 2; UPDATE diffs SET w = 'D' WHERE id = 9; DELETE FROM diffs WHERE id = 3;
INSERT INTO bare VALUES ('one'), ('two'); DELETE FROM bare WHERE v = 'one';
RESET audit.reason;
SELECT clock_timestamp() AS t2 \gset
DELETE FROM ledger WHERE id = 8;
SELECT row_key AS key, old_row_key AS old_key, change, changes, events, reasons FROM audit.changes_between(:'t1', :'t2', 'ledger');
SELECT actors FROM audit.changes_between(:'t1', :'t2', 'ledger') WHERE row_key = '1';
SELECT table_name AS tab, row_key AS key, old_row_key AS old_key, change, changes FROM audit.changes_between(:'t1', :'t2') WHERE table_name <> 'ledger';
SELECT row_key AS key, old_row_key AS old_key, change, changes FROM audit.changes_between(:'t1', :'t2', 'diffs', net => false);
SELECT count(*) FROM audit.changes_between(:'t2', :'t1');

DROP SCHEMA regress_history CASCADE;
DROP SCHEMA regress_history_new CASCADE;
