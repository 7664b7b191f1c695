-- Case 24: savepoints, exception blocks, procedures that commit, prepared transactions: the trail holds what was committed, in order.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_subtransactions;
SET search_path = regress_subtransactions;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT audit.attach('t', baseline => true);

-- savepoints: rolled back, released, nested
BEGIN;
INSERT INTO t VALUES (1, 'a');
SAVEPOINT a;
INSERT INTO t VALUES (2, 'gone');
SAVEPOINT b;
DELETE FROM t;
ROLLBACK TO b;
UPDATE t SET v = 'gone too' WHERE id = 2;
ROLLBACK TO a;
UPDATE t SET v = 'kept' WHERE id = 1;
RELEASE a;
SAVEPOINT c;
TRUNCATE t;
ROLLBACK TO c;
INSERT INTO t VALUES (3, 'c');
COMMIT;
SELECT statement, op, key, old ->> 'v' AS old, new ->> 'v' AS new FROM look() WHERE op <> 'system';
SELECT * FROM replay_mismatches('t');

-- a transaction that is rolled back leaves nothing
BEGIN;
INSERT INTO t VALUES (4, 'd');
TRUNCATE t;
ROLLBACK;
SELECT count(*) FROM look();

-- a statement that fails halfway, and those that follow
CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.v = 'bad' AND new.id = 3 THEN
        RAISE EXCEPTION 'bad';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER bad BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION bad();
BEGIN;
SAVEPOINT a;
UPDATE t SET v = 'bad';
ROLLBACK TO a;
UPDATE t SET v = 'good' WHERE id = 1;
SAVEPOINT b;
INSERT INTO t VALUES (9, 'x'), (1, 'duplicate');
ROLLBACK TO b;
INSERT INTO t VALUES (5, 'ok');
COMMIT;
SELECT statement, op, key, new ->> 'v' AS new FROM look() WHERE op <> 'ddl';
SELECT * FROM replay_mismatches('t');

-- PL/pgSQL exception blocks, also in a trigger of the table
DO $$
BEGIN
    INSERT INTO t VALUES (10, 'keep');
    BEGIN
        INSERT INTO t VALUES (11, 'gone');
        UPDATE t SET v = 'gone' WHERE id <> 3;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        INSERT INTO t VALUES (12, 'handler');
    END;
    BEGIN
        INSERT INTO t VALUES (10, 'duplicate');
    EXCEPTION WHEN unique_violation THEN
        UPDATE t SET v = 'found' WHERE id = 10;
    END;
END
$$;
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM t ORDER BY id LOOP
        BEGIN
            UPDATE t SET v = 'loop' WHERE id = r.id;
            IF r.id % 2 = 0 THEN
                RAISE EXCEPTION 'even';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT op, key, new ->> 'v' AS new FROM look();
SELECT * FROM replay_mismatches('t');
CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        BEGIN
            INSERT INTO t VALUES (new.id + 100, 'nested');
            UPDATE t SET v = 'nested' WHERE id = 1;
            IF new.id = 21 THEN
                RAISE EXCEPTION 'not this one';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER try BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION try();
INSERT INTO t VALUES (20, 'x'), (21, 'y');
DROP TRIGGER try ON t;
SELECT statement, op, key, new ->> 'v' AS new FROM look() WHERE op <> 'ddl';
SELECT * FROM replay_mismatches('t');

-- a procedure that commits and rolls back
CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 30 .. 33 LOOP
        INSERT INTO t VALUES (i, 'p');
        UPDATE t SET v = 'pp' WHERE id = i;
        IF i % 2 = 0 THEN
            COMMIT;
        ELSE
            ROLLBACK;
        END IF;
    END LOOP;
END
$$;
CALL steps();
SELECT op, key FROM look();
SELECT * FROM replay_mismatches('t');

-- cursors: WHERE CURRENT OF, and a function that is not run to its end
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE;
MOVE 1 FROM c;
UPDATE t SET v = 'cursor' WHERE CURRENT OF c;
MOVE 1 FROM c;
DELETE FROM t WHERE CURRENT OF c;
COMMIT;
CREATE FUNCTION early() RETURNS SETOF t LANGUAGE sql VOLATILE AS $$ UPDATE t SET v = v || ' early' WHERE id IN (1, 5) RETURNING * $$;
SELECT id FROM early() LIMIT 1;
SELECT (early()).id LIMIT 1;
BEGIN;
DECLARE c CURSOR FOR SELECT (early()).id;
MOVE 1 FROM c;
CLOSE c;
COMMIT;
SELECT * FROM replay_mismatches('t');
SELECT count(*) > 0 AS some FROM look();

-- deferred constraint triggers and savepoints
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t SET v = v || ' checked' WHERE id = new.id AND v NOT LIKE '%checked';
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
BEGIN;
INSERT INTO t VALUES (40, 'x');
SAVEPOINT a;
INSERT INTO t VALUES (41, 'gone');
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO a;
INSERT INTO t VALUES (42, 'y');
COMMIT;
SELECT op, key, new ->> 'v' AS new FROM look() WHERE op <> 'ddl';
SELECT * FROM replay_mismatches('t');
DROP TRIGGER at_commit ON t;

-- two-phase commit; an attach inside it
BEGIN;
INSERT INTO t VALUES (50, 'prepared');
SAVEPOINT a;
INSERT INTO t VALUES (51, 'gone');
ROLLBACK TO a;
UPDATE t SET v = 'prepared twice' WHERE id = 50;
PREPARE TRANSACTION 'regress_subtransactions_1';
BEGIN;
INSERT INTO t VALUES (52, 'prepared');
PREPARE TRANSACTION 'regress_subtransactions_2';
SELECT op, key, new ->> 'v' AS new FROM look() WHERE op <> 'ddl';
COMMIT PREPARED 'regress_subtransactions_1';
ROLLBACK PREPARED 'regress_subtransactions_2';
SELECT op, key, new ->> 'v' AS new FROM trail WHERE tab = 't' AND key IN ('50', '51', '52');
SELECT * FROM replay_mismatches('t');
BEGIN;
CREATE TABLE inside (id int PRIMARY KEY);
SELECT audit.attach('inside', baseline => true);
INSERT INTO inside VALUES (1);
PREPARE TRANSACTION 'regress_subtransactions_3';
COMMIT PREPARED 'regress_subtransactions_3';
SELECT op, tab, key FROM trail WHERE tab = 'inside' AND schema_name = 'regress_subtransactions';
SELECT * FROM replay_mismatches('inside');

DROP SCHEMA regress_subtransactions CASCADE;
