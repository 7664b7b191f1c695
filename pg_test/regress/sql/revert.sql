-- Undoing an event, a transaction, what happened to a row: shown, done, and refused where rows changed since.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_revert;
SET search_path = regress_revert;
\set SHOW_CONTEXT never
CREATE TABLE owners (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE things (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner int REFERENCES owners, name text, price numeric(10,2), "Odd ""col" text,
    doc jsonb, list int[], at timestamptz, twice int GENERATED ALWAYS AS (2) STORED, api_key text, note text);
SELECT audit.attach('owners'), audit.attach('things', exclude => '{note}');
INSERT INTO owners VALUES (1, 'ann'), (2, 'bob');
BEGIN;
INSERT INTO owners VALUES (3, 'cy');
INSERT INTO things (owner, name, price, "Odd ""col", doc, list, at) VALUES (3, E'it''s \\ "x"\n', 1.5, '$1', '{"k": [1, null]}', '{1,NULL,3}', '2026-01-01 00:00+02');
SELECT pg_current_xact_id() AS made \gset
COMMIT;
SELECT clock_timestamp() AS t0 \gset
BEGIN;
UPDATE things SET name = 'first', price = 2 WHERE id = 1;
UPDATE things SET name = 'second' WHERE id = 1;
DELETE FROM owners WHERE id = 2;
INSERT INTO owners VALUES (7, 'brief'); DELETE FROM owners WHERE id = 7;
SELECT pg_current_xact_id() AS spoiled \gset
COMMIT;

-- Shown, in the order in which it would run; nothing is done
SELECT step, relation, key, statement, conflict FROM audit.revert(xact_id => :'spoiled');
SELECT step, relation, key, statement, conflict FROM audit.revert(xact_id => :'spoiled', target => 'owners');
SELECT count(*) FROM owners;
-- Done: a reason is needed, and it is an audited change
SELECT * FROM audit.revert(xact_id => :'spoiled', dry_run => false);
SET audit.reason = 'before'; SET audit.context = '{"ticket": 1}';
SELECT step, relation, key FROM audit.revert(xact_id => :'spoiled', reason => 'a mistake', dry_run => false);
SELECT audit.context();
RESET audit.reason; RESET audit.context;
SELECT operation AS op, table_name AS tab, row_key AS key, reason, context - 'time_zone' #- '{reverts,xact_id}' AS context FROM audit.audit_events
WHERE schema_name = 'regress_revert' AND reason = 'a mistake' ORDER BY event_id;
SELECT * FROM owners ORDER BY id;
SELECT id, owner, name, price, "Odd ""col", doc, list, at = '2026-01-01 00:00+02' AS at, twice FROM things;
-- Twice: what would be undone is not there any more
SELECT step, relation, key, statement, conflict FROM audit.revert(xact_id => :'spoiled');
\set VERBOSITY default
SELECT * FROM audit.revert(xact_id => :'spoiled', reason => 'again', dry_run => false);

-- One event: what was inserted goes, but not if it changed; columns that the event did not change do not matter
SELECT max(event_id) FILTER (WHERE operation = 'insert' AND row_key = '3') AS inserted, max(event_id) FILTER (WHERE operation = 'delete' AND row_key = '2') AS deleted
FROM audit.audit_events WHERE table_oid = 'owners'::regclass \gset
UPDATE owners SET name = 'cyd' WHERE id = 3;
SELECT max(event_id) AS renamed FROM audit.audit_events WHERE table_oid = 'owners'::regclass \gset
SELECT statement, conflict FROM audit.revert(:inserted);
SELECT statement, conflict FROM audit.revert(:renamed);
UPDATE owners SET name = 'other' WHERE id = 3;
SELECT statement, conflict FROM audit.revert(:renamed);
-- The key, or a unique value, belongs to another row
SELECT statement, conflict FROM audit.revert(:deleted);
UPDATE owners SET id = 22 WHERE id = 2;
SELECT statement, conflict FROM audit.revert(:deleted);
-- The row is gone; an inserted row, deleted meanwhile
DELETE FROM things;
SELECT statement IS NULL AS none, conflict FROM audit.revert(xact_id => :'made', target => 'things');

-- A row to a time: deleted, with a column that was not recorded; then with all recorded
SELECT statement, conflict FROM audit.revert(target => 'things', row_key => '1', to_time => :'t0');
SELECT audit.attach('things');
SELECT statement, conflict FROM audit.revert(target => 'things', row_key => '1', to_time => :'t0');
SELECT step, key FROM audit.revert(target => 'things', row_key => '1', to_time => :'t0', reason => 'back', dry_run => false);
SELECT id, owner, name, price, list FROM things;
SELECT count(*) FROM audit.revert(target => 'things', row_key => '1', to_time => clock_timestamp());
-- A masked value is not known; deleted and inserted again since, the row is still the one with this key
UPDATE things SET api_key = 'new' WHERE id = 1;
SELECT statement, conflict FROM audit.revert(target => 'things', row_key => '1', to_time => :'t0');
SELECT max(event_id) AS masked FROM audit.audit_events WHERE table_oid = 'things'::regclass \gset
UPDATE things SET api_key = 'newer' WHERE id = 1;
SELECT statement, conflict FROM audit.revert(:masked);
SELECT max(event_id) AS masked FROM audit.audit_events WHERE table_oid = 'things'::regclass \gset
SELECT statement, conflict FROM audit.revert(:masked);
-- A column that is gone, a value that does not fit, a table that is gone
CREATE TABLE drift (id int PRIMARY KEY, a text, b text);
SELECT audit.attach('drift');
INSERT INTO drift VALUES (1, 'a', 'b');
UPDATE drift SET a = 'a2' WHERE id = 1;
SELECT max(event_id) AS of_a FROM audit.audit_events WHERE table_oid = 'drift'::regclass \gset
UPDATE drift SET b = 'b2' WHERE id = 1;
SELECT max(event_id) AS of_b FROM audit.audit_events WHERE table_oid = 'drift'::regclass \gset
ALTER TABLE drift DROP COLUMN a;
ALTER TABLE drift RENAME b TO c;
SELECT statement, conflict FROM audit.revert(:of_a);
SELECT statement, conflict FROM audit.revert(:of_b);
ALTER TABLE drift ALTER c TYPE int USING 5;
SELECT statement, conflict FROM audit.revert(:of_b);
DROP TABLE drift;
SELECT statement, conflict FROM audit.revert(:of_b);

-- Keys of several columns, a change of the key, capture => 'diff', a partitioned table, two rows that change places
CREATE TABLE parts (a int, b text, v int, w int, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
SELECT audit.attach('parts', capture => 'diff');
INSERT INTO parts VALUES (1, 'x,"y', 1, 1), (2, 'z', 2, 2);
BEGIN;
UPDATE parts SET v = 10 WHERE a = 1; UPDATE parts SET a = 5, v = 11 WHERE a = 1; UPDATE parts SET w = 3 WHERE a = 5; DELETE FROM parts WHERE a = 2;
SELECT pg_current_xact_id() AS x \gset
COMMIT;
SELECT step, key, statement, conflict FROM audit.revert(xact_id => :'x');
SELECT count(*) FROM audit.revert(xact_id => :'x', reason => 'undo', dry_run => false);
SELECT * FROM parts ORDER BY a;
CREATE TABLE swaps (id int PRIMARY KEY DEFERRABLE, v text);
SELECT audit.attach('swaps');
INSERT INTO swaps VALUES (1, 'one'), (2, 'two');
BEGIN; UPDATE swaps SET id = 3 - id; SELECT pg_current_xact_id() AS x \gset
COMMIT;
SELECT step, key, conflict FROM audit.revert(xact_id => :'x');
BEGIN; SET CONSTRAINTS ALL DEFERRED;
SELECT count(*) FROM audit.revert(xact_id => :'x', reason => 'undo', dry_run => false);
COMMIT;
SELECT * FROM swaps ORDER BY id;

-- No key; TRUNCATE and DDL; what cannot be undone is said
CREATE TABLE bare (v text);
SELECT audit.attach('bare');
BEGIN; INSERT INTO bare VALUES ('x'); ALTER TABLE swaps ADD COLUMN w int; TRUNCATE swaps; SELECT pg_current_xact_id() AS x \gset
COMMIT;
SELECT relation, key, statement, conflict FROM audit.revert(xact_id => :'x');

-- A trigger that keeps a row: nothing is reverted
CREATE TABLE kept (id int PRIMARY KEY, v text);
SELECT audit.attach('kept');
INSERT INTO kept VALUES (1, 'a'), (2, 'b');
SELECT clock_timestamp() AS t0 \gset
BEGIN; UPDATE kept SET v = v || v; SELECT pg_current_xact_id() AS x \gset
COMMIT;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.id = 1 THEN NULL ELSE NEW END; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep();
SELECT * FROM audit.revert(xact_id => :'x', reason => 'undo', dry_run => false);
SELECT * FROM kept ORDER BY id;

-- With the caller's own rights, and settings: a trigger of the table sees his search_path
CREATE ROLE regress_reverter;
SELECT audit.grant_access('regress_reverter', 'reader');
GRANT USAGE ON SCHEMA regress_revert TO regress_reverter;
GRANT SELECT ON kept TO regress_reverter;
DROP TRIGGER keep ON kept;
CREATE TABLE local_names (v text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO local_names VALUES (current_setting('search_path')); RETURN NEW; END $$;
CREATE TRIGGER note BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION note();
SET ROLE regress_reverter;
SELECT step, statement, conflict FROM audit.revert(xact_id => :'x');
SELECT * FROM audit.revert(xact_id => :'x', reason => 'undo', dry_run => false);
SELECT count(*) FROM audit.history('kept', '1');
SELECT count(*) FROM audit.as_of(NULL::kept, clock_timestamp());
SELECT count(*) FROM audit.lineage('x'), audit.processes;
RESET ROLE;
GRANT UPDATE ON kept TO regress_reverter;
GRANT INSERT ON local_names TO regress_reverter;
SET ROLE regress_reverter;
SELECT count(*) FROM audit.revert(xact_id => :'x', reason => 'undo', dry_run => false);
RESET ROLE;
SELECT DISTINCT v FROM local_names;
SELECT DISTINCT effective_role FROM audit.audit_events WHERE table_oid = 'kept'::regclass AND reason = 'undo';
SELECT prosecdef, count(*) FROM pg_proc WHERE pronamespace = 'audit'::regnamespace AND proname IN ('revert', 'revert_steps', 'revert_row', 'history', 'as_of', 'rows_at', 'blame', 'lineage') GROUP BY 1;

DROP SCHEMA regress_revert CASCADE;
DROP OWNED BY regress_reverter;
DROP ROLE regress_reverter;
