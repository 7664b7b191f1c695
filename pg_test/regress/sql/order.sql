-- The order of events: what a statement's triggers, cascades and nested statements do sorts behind it, and replay proves it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_order;
SET search_path = regress_order;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\getenv inputdir PG_ABS_SRCDIR
\set replay :inputdir '/sql/include/replay.sql'
\set ECHO none
\i :replay
\set ECHO all

-- The events of these tests: statement numbers are counted within the transaction.
CREATE VIEW trail AS
SELECT xact_id, statement_id, event_id,
       dense_rank() OVER (PARTITION BY xact_id ORDER BY statement_id) AS statement,
       operation, table_name AS tab, row_key AS key, old_row_key AS old_key, old_values AS old, new_values AS new
FROM audit.audit_events
WHERE schema_name = 'regress_order' AND operation IN ('insert', 'update', 'delete', 'truncate')
ORDER BY xact_id, statement_id, event_id;
CREATE TABLE seen AS SELECT 0::bigint AS event_id;
-- The events since the last look.
CREATE FUNCTION look() RETURNS TABLE (statement bigint, operation audit.operation, tab text, key text, old_key text, old jsonb, new jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT t.statement, t.operation, t.tab, t.key, t.old_key, t.old, t.new FROM trail t
        WHERE t.event_id > (SELECT s.event_id FROM seen s) ORDER BY t.xact_id, t.statement_id, t.event_id;
    UPDATE seen SET event_id = coalesce((SELECT max(e.event_id) FROM audit.audit_events e), 0);
END
$$;

-- case 16: an AFTER ROW trigger writes to another table, and to the same one
CREATE TABLE account (id int PRIMARY KEY, n int);
CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
SELECT audit.attach('account', baseline => true), audit.attach('log', baseline => true);
CREATE FUNCTION after_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (tg_op || ' ' || coalesce(new.id, old.id));
    IF tg_op = 'UPDATE' AND new.n < 3 THEN
        UPDATE account SET n = n + 1 WHERE id = new.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER after_account AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION after_account();
INSERT INTO account VALUES (1, 0), (2, 5);
SELECT * FROM look();
UPDATE account SET n = 1 WHERE id = 1;
SELECT * FROM look();
SELECT * FROM replay_mismatches('account');
SELECT * FROM replay_mismatches('log');
DROP TABLE account, log;

-- case 16: foreign-key cascades sort behind their cause: CASCADE, SET NULL, SET DEFAULT, ON UPDATE CASCADE
CREATE TABLE p (id int PRIMARY KEY, x int UNIQUE);
CREATE TABLE c (id int PRIMARY KEY,
                p int REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE,
                x int DEFAULT 0 REFERENCES p (x) ON DELETE SET DEFAULT ON UPDATE SET NULL);
SELECT audit.attach('p', baseline => true), audit.attach('c', baseline => true);
INSERT INTO p VALUES (0, 0), (1, 10), (2, 20);
INSERT INTO c VALUES (1, 1, 0), (2, 2, 10), (3, 0, 20);
SELECT count(*) AS inserts FROM look();
UPDATE p SET id = 200 WHERE id = 2;
SELECT * FROM look();
DELETE FROM p WHERE id = 1;
SELECT * FROM look();
UPDATE p SET x = 21 WHERE id = 200;
SELECT * FROM look();
SELECT * FROM replay_mismatches('p');
SELECT * FROM replay_mismatches('c');

-- case 16: between two cascades of one statement a trigger changes the same rows
CREATE FUNCTION touch_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE child SET v = v || ' t' || old.id;
    RETURN NULL;
END
$$;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL, v text);
CREATE TRIGGER zz_touch AFTER DELETE ON parent FOR EACH ROW EXECUTE FUNCTION touch_all();
SELECT audit.attach('parent', baseline => true), audit.attach('child', baseline => true);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1, 'a'), (2, 2, 'b');
DELETE FROM parent;
SELECT * FROM replay_mismatches('child');
DROP TABLE child, parent;

-- case 16: a tree that references itself
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE);
SELECT audit.attach('tree', baseline => true);
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, NULL);
UPDATE tree SET id = id + 10 WHERE id IN (1, 5);
DELETE FROM tree WHERE id IN (11, 15);
SELECT operation, key, old_key FROM look() WHERE tab = 'tree' AND operation <> 'insert';
SELECT * FROM replay_mismatches('tree');
DROP TABLE tree;

-- case 16: BEFORE ROW triggers and functions of the statement change other rows of the same table
CREATE TABLE q (id int PRIMARY KEY, n int);
SELECT audit.attach('q', baseline => true);
CREATE FUNCTION before_q() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.id = 1 THEN
        UPDATE q SET n = n + 100 WHERE id = 2;
    ELSIF new.id = 60 THEN
        INSERT INTO q VALUES (61, 0);
        DELETE FROM q WHERE id = 3;
    END IF;
    RETURN new;
END
$$;
INSERT INTO q VALUES (1, 1), (2, 2), (3, 3);
CREATE TRIGGER before_q BEFORE INSERT OR UPDATE ON q FOR EACH ROW EXECUTE FUNCTION before_q();
UPDATE q SET n = n + 1 WHERE id = 1;
INSERT INTO q VALUES (60, 0);
CREATE FUNCTION set_to(id int, n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    UPDATE q SET n = set_to.n WHERE q.id = set_to.id;
    RETURN n;
END
$$;
INSERT INTO q SELECT 70, set_to(2, -1);
INSERT INTO q VALUES (71, 1) RETURNING set_to(2, -2);
SELECT statement, operation, key, old, new FROM look() WHERE tab = 'q';
SELECT * FROM replay_mismatches('q');
-- a BEFORE ROW trigger deletes the very row that its INSERT then brings back
CREATE FUNCTION make_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM q WHERE id = new.id;
    RETURN new;
END
$$;
CREATE TRIGGER make_room BEFORE INSERT ON q FOR EACH ROW EXECUTE FUNCTION make_room();
INSERT INTO q VALUES (2, 0), (61, 9);
SELECT * FROM replay_mismatches('q');
DROP TABLE q;

-- case 16: AFTER STATEMENT triggers that sort before and behind ours, and change the rows they see
CREATE TABLE s (id int PRIMARY KEY, v int);
SELECT audit.attach('s', baseline => true);
CREATE FUNCTION after_s() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        DELETE FROM s WHERE id IN (SELECT id FROM fresh WHERE v < 0);
        UPDATE s SET v = v * 2 WHERE id IN (SELECT id FROM fresh);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER "!after_s" AFTER INSERT ON s REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION after_s();
CREATE TRIGGER zz_after_s AFTER INSERT ON s REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION after_s();
INSERT INTO s VALUES (70, -1), (71, 1);
INSERT INTO s VALUES (71, 5), (72, 3) ON CONFLICT (id) DO UPDATE SET v = 9;
SELECT statement, operation, key, old ->> 'v' AS old, new ->> 'v' AS new FROM look() WHERE tab = 's';
SELECT * FROM replay_mismatches('s');
DROP TABLE s;

-- case 16: deferred constraint triggers write at commit, behind everything else
CREATE TABLE d (id int PRIMARY KEY, v text);
SELECT audit.attach('d', baseline => true);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE d SET v = v || ' checked' WHERE id = new.id AND v NOT LIKE '%checked';
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON d DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
BEGIN;
INSERT INTO d VALUES (1, 'x');
INSERT INTO d VALUES (2, 'y');
DELETE FROM d WHERE id = 1;
COMMIT;
SELECT statement, operation, key, new ->> 'v' AS new FROM look() WHERE tab = 'd';
SELECT * FROM replay_mismatches('d');
DROP TABLE d;

-- case 17: two hundred changes of one row in one transaction stay distinct and ordered
CREATE TABLE many (id int PRIMARY KEY, n int);
SELECT audit.attach('many', baseline => true);
INSERT INTO many VALUES (1, 0);
DO $$
BEGIN
    FOR i IN 1 .. 200 LOOP
        UPDATE many SET n = i WHERE id = 1;
    END LOOP;
END
$$;
SELECT count(*) AS updates, count(DISTINCT statement) AS statements,
       bool_and(old = before) AS chained
FROM (SELECT statement, operation, old, lag(new) OVER (ORDER BY xact_id, statement_id, event_id) AS before
      FROM trail WHERE tab = 'many') t
WHERE operation = 'update';
SELECT * FROM replay_mismatches('many');

-- TRUNCATE: rows that its BEFORE triggers bring are emptied along, those of its AFTER triggers stay
CREATE FUNCTION around_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO many VALUES ((SELECT coalesce(max(id), 0) + 1 FROM many), tg_nargs);
    RETURN NULL;
END
$$;
CREATE TRIGGER "!before" BEFORE TRUNCATE ON many FOR EACH STATEMENT EXECUTE FUNCTION around_truncate();
CREATE TRIGGER zz_before BEFORE TRUNCATE ON many FOR EACH STATEMENT EXECUTE FUNCTION around_truncate();
CREATE TRIGGER "!after" AFTER TRUNCATE ON many FOR EACH STATEMENT EXECUTE FUNCTION around_truncate();
CREATE TRIGGER zz_after AFTER TRUNCATE ON many FOR EACH STATEMENT EXECUTE FUNCTION around_truncate();
TRUNCATE many;
SELECT count(*) AS rows FROM many;
SELECT * FROM replay_mismatches('many');
SELECT audit.attach('many', on_truncate => 'rows');
TRUNCATE many;
SELECT * FROM replay_mismatches('many');

DROP SCHEMA regress_order CASCADE;
