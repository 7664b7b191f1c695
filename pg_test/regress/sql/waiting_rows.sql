-- Events wait for their transaction's end; whoever looks before sees them all the same.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_waiting;
SET search_path = regress_waiting;
CREATE TABLE t (id integer PRIMARY KEY, v integer);
SELECT audit.attach('t');
INSERT INTO t SELECT g, 0 FROM generate_series(1, 30) AS g;
-- plpgsql: the query that looks is not in the caller's plan.
CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(row_key || '→' || (new_values ->> 'v'), ' ' ORDER BY event_id)
            FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update');
END $$;
-- What all indexes together know, against the heap.
CREATE FUNCTION unindexed() RETURNS bigint LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN (SELECT count(*) FROM audit.audit_events h WHERE h.table_oid = 't'::regclass AND h.row_key IS NOT NULL)
         - (SELECT count(*) FROM generate_series(1, 2999) AS g, LATERAL (
                SELECT FROM audit.audit_events e WHERE e.table_oid = 't'::regclass AND e.row_key = g::text) AS found);
END $$;

-- Every way to look, in the transaction itself.
BEGIN;
UPDATE t SET v = 1 WHERE id = 1;
SELECT seen();
UPDATE t SET v = 1 WHERE id = 2;
SELECT count(*) FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update';
UPDATE t SET v = 1 WHERE id = 3;
DECLARE c CURSOR FOR SELECT row_key FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update' ORDER BY event_id;
UPDATE t SET v = 1 WHERE id = 4;
FETCH ALL FROM c;
PREPARE looks AS SELECT count(*) FROM audit.audit_events WHERE table_oid = 't'::regclass AND operation = 'update';
EXECUTE looks;
UPDATE t SET v = 1 WHERE id = 5;
EXECUTE looks;
UPDATE t SET v = 1 WHERE id = 6;
SELECT tableoid::regclass AS month FROM audit.audit_events WHERE table_oid = 't'::regclass LIMIT 1 \gset
UPDATE t SET v = 1 WHERE id = 7;
COPY :month (schema_name, operation, row_key) TO PROGRAM 'grep "^regress_waiting.update.7$" > /dev/null';
UPDATE t SET v = 1 WHERE id = 8;
SELECT version, changes FROM audit.history('t', '8') WHERE operation = 'update';
UPDATE t SET v = 1 WHERE id = 9;
-- called force_parallel_mode before PostgreSQL 16
SELECT set_config(name, 'on', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(*) FROM pg_class WHERE seen() LIKE '%9→1' AND relname = 'pg_class';
COMMIT;
SELECT seen(), unindexed();

-- Savepoints: what waited before, what is captured inside, rolled back or not.
TRUNCATE t;
INSERT INTO t SELECT g, 0 FROM generate_series(1, 30) AS g;
BEGIN;
UPDATE t SET v = 2 WHERE id = 1;
SAVEPOINT a;
UPDATE t SET v = 2 WHERE id = 2;
SELECT right(seen(), 11);
ROLLBACK TO a;
SELECT right(seen(), 7);
UPDATE t SET v = 2 WHERE id = 3;
COMMIT;
SELECT right(seen(), 11), unindexed();

-- Subtransactions that no command begins: looked at inside, then rolled back, committed, or both.
CREATE PROCEDURE inside(depth integer, fails integer) LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'depth %: …%', depth, right(seen(), 12);
    IF depth < 3 THEN CALL inside(depth + 1, fails); END IF;
    IF depth = fails THEN RAISE EXCEPTION 'depth % fails', depth; END IF;
EXCEPTION WHEN raise_exception THEN
    RAISE NOTICE '%: …%', SQLERRM, right(seen(), 12);
END $$;
SET client_min_messages = notice;
DO $$
BEGIN
    FOR fails IN 0 .. 3 LOOP
        UPDATE t SET v = 10 + fails WHERE id = 4;
        CALL inside(1, fails);
        UPDATE t SET v = 20 + fails WHERE id = 5;
    END LOOP;
END $$;
SET client_min_messages = warning;
SELECT right(seen(), 47), unindexed();
-- Captured inside as well.
DO $$
BEGIN
    UPDATE t SET v = 30 WHERE id = 6;
    BEGIN
        UPDATE t SET v = 31 WHERE id = 7;
        PERFORM seen();
        UPDATE t SET v = 32 WHERE id = 8;
        RAISE EXCEPTION 'back';
    EXCEPTION WHEN raise_exception THEN
        UPDATE t SET v = 33 WHERE id = 9;
    END;
    BEGIN
        UPDATE t SET v = 34 WHERE id = 10;
        PERFORM seen();
    EXCEPTION WHEN raise_exception THEN
    END;
END $$;
SELECT right(seen(), 19), unindexed();

-- Commands on the log's own tables while rows wait, also from a subtransaction.
BEGIN;
UPDATE t SET v = 40 WHERE id = 11;
ALTER TABLE :month SET (fillfactor = 99);
UPDATE t SET v = 41 WHERE id = 12;
DO $$ BEGIN
    EXECUTE format('ALTER TABLE %s RESET (fillfactor)', (SELECT tableoid::regclass FROM audit.audit_events ORDER BY event_id DESC LIMIT 1));
EXCEPTION WHEN raise_exception THEN
END $$;
UPDATE t SET v = 42 WHERE id = 13;
SELECT count(*) >= 0 AS maintained FROM audit.maintain();
COMMIT;
SELECT right(seen(), 17), unindexed();

-- Nothing is left of a transaction that failed, and the next one is not disturbed; two phases.
BEGIN;
UPDATE t SET v = 50 WHERE id = 14;
SELECT 1 / 0;
ROLLBACK;
BEGIN;
UPDATE t SET v = 51 WHERE id = 15;
PREPARE TRANSACTION 'regress_waiting';
SELECT seen() LIKE '%15→51' AS told;
COMMIT PREPARED 'regress_waiting';
SELECT right(seen(), 11), unindexed();

-- Captured by a deferred trigger, while the transaction commits.
CREATE TABLE cause (id integer);
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t SET v = v + 1 WHERE id = NEW.id;
    PERFORM seen();
    UPDATE t SET v = v + 1 WHERE id = NEW.id + 1;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON cause DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
BEGIN;
UPDATE t SET v = 60 WHERE id = 20;
INSERT INTO cause VALUES (20), (21);
COMMIT;
SELECT right(seen(), 29), unindexed();

-- More than waits at once, with small statements before and after; procedures that commit.
BEGIN;
UPDATE t SET v = 70 WHERE id = 22;
INSERT INTO t SELECT g, 1 FROM generate_series(1000, 2999) AS g;
UPDATE t SET v = 71 WHERE id = 23;
DO $$ BEGIN FOR g IN 1000 .. 2199 LOOP UPDATE t SET v = 2 WHERE id = g; END LOOP; END $$;
COMMIT;
SELECT count(*), count(DISTINCT e.event_id), count(DISTINCT row_key) FROM audit.audit_events e
WHERE table_oid = 't'::regclass AND length(row_key) = 4;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t SET v = 80 WHERE id = 24;
    COMMIT;
    UPDATE t SET v = 81 WHERE id = 25;
    ROLLBACK;
    UPDATE t SET v = 82 WHERE id = 26;
END $$;
CALL commits();
SELECT right(seen(), 11), unindexed();

-- Each row is seen from its own command on, also by those who look with an older snapshot.
CREATE FUNCTION changes(id integer, v integer) RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = changes.v WHERE t.id = changes.id; END $$;
CREATE FUNCTION steady(v integer) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT count(*) FROM audit.audit_events WHERE table_oid = 't'::regclass AND new_values @> jsonb_build_object('v', steady.v));
END $$;
BEGIN;
UPDATE t SET v = 90 WHERE id = 1;
SELECT changes(2, 91), steady(90), steady(91);
UPDATE t SET v = 92 WHERE id = 3;
DECLARE c CURSOR FOR SELECT steady(92), steady(93);
UPDATE t SET v = 93 WHERE id = 4;
FETCH c;
SELECT steady(93);
COMMIT;

-- A COMMIT that fails ends the transaction, as ever; a ROLLBACK writes nothing.
CREATE FUNCTION refuses(place text) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN IF place = 'regress_waiting 29' THEN RAISE EXCEPTION 'no 29'; END IF; RETURN 0; END $$;
CREATE INDEX refuses ON :month (refuses(schema_name || ' ' || row_key)) WHERE operation = 'update';
BEGIN;
UPDATE t SET v = 1 WHERE id = 29;
ROLLBACK;
SELECT 1 AS idle;
BEGIN;
UPDATE t SET v = 1 WHERE id = 29;
COMMIT;
SELECT v AS unchanged FROM t WHERE id = 29;
DROP INDEX audit.refuses;

-- What a command's own triggers change does not wait under it.
CREATE TABLE commands (tag text);
SELECT audit.attach('commands');
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO commands VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER regress_waiting ON ddl_command_start EXECUTE FUNCTION note();
ALTER TABLE :month SET (fillfactor = 99);
ALTER TABLE :month RESET (fillfactor);
DROP EVENT TRIGGER regress_waiting;
SELECT new_values FROM audit.audit_events WHERE table_oid = 'commands'::regclass AND operation = 'insert' ORDER BY event_id;

-- A month that stands elsewhere.
CREATE SCHEMA elsewhere;
ALTER TABLE :month SET SCHEMA elsewhere;
SELECT replace(:'month', 'audit.', 'elsewhere.') AS month \gset
BEGIN;
UPDATE t SET v = 95 WHERE id = 5;
SELECT count(*) FROM :month WHERE new_values @> '{"v": 95}';
COMMIT;
ALTER TABLE :month SET SCHEMA audit;

-- All in order.
SELECT bool_and(event_id > before) AS ascending
FROM (SELECT event_id, lag(event_id, 1, 0::bigint) OVER (PARTITION BY xact_id ORDER BY statement_id, event_id) AS before
      FROM audit.audit_events WHERE table_oid = 't'::regclass) AS e;
DROP SCHEMA regress_waiting CASCADE;
DROP SCHEMA elsewhere;
