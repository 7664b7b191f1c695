-- Partitioned tables: one identity, the root's, whatever door a change comes in by.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_partitions;
SET search_path = regress_partitions;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\getenv inputdir PG_ABS_SRCDIR
\set replay :inputdir '/sql/include/replay.sql'
\set ECHO none
\i :replay
\set ECHO all
CREATE VIEW trail AS
SELECT event_id, xact_id, statement_id, operation, table_name AS tab, row_key AS key, old_row_key AS old_key,
       old_values ->> 'v' AS old_v, new_values ->> 'v' AS new_v, context ->> 'partition' AS truncated
FROM audit.audit_events
WHERE schema_name = 'regress_partitions' AND operation IN ('insert', 'update', 'delete', 'truncate', 'snapshot')
ORDER BY xact_id, statement_id, event_id;
CREATE TABLE seen AS SELECT 0::bigint AS event_id;
-- The events since the last look.
CREATE FUNCTION look() RETURNS TABLE (operation audit.operation, tab text, key text, old_key text, old_v text, new_v text)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT t.operation, t.tab, t.key, t.old_key, t.old_v, t.new_v FROM trail t
        WHERE t.event_id > (SELECT s.event_id FROM seen s) ORDER BY t.xact_id, t.statement_id, t.event_id;
    UPDATE seen SET event_id = coalesce((SELECT max(e.event_id) FROM audit.audit_events e), 0);
END
$$;

-- Two levels; leaves whose columns stand in another order, or that dropped some.
CREATE TABLE t (id int, k text, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE ta PARTITION OF t FOR VALUES IN ('a');
CREATE TABLE tb (gone int, v text, k text NOT NULL, id int NOT NULL, gone_too int);
ALTER TABLE tb DROP COLUMN gone, DROP COLUMN gone_too;
ALTER TABLE t ATTACH PARTITION tb FOR VALUES IN ('b');
CREATE TABLE tc PARTITION OF t FOR VALUES IN ('c', 'cc') PARTITION BY LIST (k);
CREATE TABLE tc1 (k text NOT NULL, id int NOT NULL, v text);
ALTER TABLE tc ATTACH PARTITION tc1 FOR VALUES IN ('c');
CREATE TABLE tc2 PARTITION OF tc FOR VALUES IN ('cc');
INSERT INTO t VALUES (100, 'a', 'before'), (101, 'b', 'before'), (102, 'c', 'before');
SELECT audit.attach('t', baseline => true);
SELECT * FROM look();

-- case 18: a move between partitions is one UPDATE with both images
INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (4, 'cc', 'x');
UPDATE t SET k = 'b' WHERE id = 1;
UPDATE t SET k = 'c', id = 20 WHERE id = 2;
UPDATE t SET k = 'cc', v = 'moved' WHERE id = 3;
SELECT * FROM look();
SELECT * FROM replay_mismatches('t');

-- case 19: statements that name a leaf or a level in between are recorded once, under the root
INSERT INTO tb (id, k, v) VALUES (5, 'b', 'leaf');
INSERT INTO tc1 VALUES ('c', 6, 'leaf');
INSERT INTO tc VALUES (7, 'cc', 'middle');
UPDATE tb SET v = 'leaf 2' WHERE id = 5;
UPDATE tc SET k = 'c', v = 'middle 2' WHERE id = 7;
DELETE FROM tc1 WHERE id = 6;
COPY tc2 FROM STDIN;
8	cc	copied
\.
INSERT INTO t VALUES (5, 'b', 'conflict'), (9, 'a', 'new') ON CONFLICT (id, k) DO UPDATE SET v = excluded.v;
SELECT * FROM look();
SELECT * FROM replay_mismatches('t');

-- cases 18, 22: MERGE moves rows; without an action that deletes or inserts, too
MERGE INTO t USING (VALUES (9)) AS q (id) ON t.id = q.id WHEN MATCHED THEN UPDATE SET k = 'b';
SELECT * FROM replay_mismatches('t');
MERGE INTO t USING (VALUES (9), (10)) AS q (id) ON t.id = q.id
    WHEN MATCHED THEN UPDATE SET k = 'a' WHEN NOT MATCHED THEN INSERT VALUES (q.id, 'c', 'merged');
MERGE INTO t USING (VALUES (9), (10)) AS q (id) ON t.id = q.id
    WHEN MATCHED AND t.id = 9 THEN UPDATE SET k = 'cc' WHEN MATCHED THEN DELETE;
SELECT * FROM replay_mismatches('t');
SELECT count(*) > 0 AS recorded FROM look();

-- case 18: the target partition's trigger swallows some of the moved rows: these are DELETEs, and no other pair is torn apart
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.v LIKE 'swallow%' THEN
        RETURN NULL;
    END IF;
    new.v := new.v || '+';
    RETURN new;
END
$$;
CREATE TRIGGER swallow BEFORE INSERT ON tc1 FOR EACH ROW EXECUTE FUNCTION swallow();
INSERT INTO t VALUES (30, 'a', '0'), (31, 'a', 'swallow 1'), (32, 'a', '2'), (33, 'a', '3'), (34, 'a', 'swallow 4'), (35, 'a', '5');
SELECT count(*) AS inserts FROM look();
UPDATE t SET k = CASE WHEN id IN (31, 32, 34) THEN 'c' ELSE k END, v = v || '!' WHERE id BETWEEN 30 AND 35;
SELECT * FROM look() ORDER BY key COLLATE "C", old_key COLLATE "C";
SELECT * FROM replay_mismatches('t');
-- … with no row moved but those that are swallowed
UPDATE t SET v = 'swallow ' || id WHERE id IN (30, 33);
UPDATE t SET k = 'c' WHERE id IN (30, 33);
SELECT * FROM look();
SELECT * FROM replay_mismatches('t');
DROP TRIGGER swallow ON tc1;

-- case 19: TRUNCATE of the root is one event, of a leaf or a level in between a DELETE per row
TRUNCATE tb;
SELECT operation, tab, key FROM look();
TRUNCATE tc;
SELECT operation, tab, key FROM look() ORDER BY key COLLATE "C";
TRUNCATE ta, t;
SELECT operation, tab, key FROM look();
INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x');
TRUNCATE tb, ta;
SELECT operation, tab, key FROM look();
TRUNCATE t;
SELECT operation, tab, key FROM look();
SELECT * FROM replay_mismatches('t');

-- case 20: a partition made later
CREATE TABLE td PARTITION OF t FOR VALUES IN ('d', 'dd') PARTITION BY LIST (k);
CREATE TABLE td1 PARTITION OF td FOR VALUES IN ('d');
INSERT INTO td1 VALUES (1, 'd', 'leaf');
INSERT INTO t VALUES (2, 'd', 'root');
SELECT * FROM look();
SELECT * FROM replay_mismatches('t');

-- case 20: a detached partition goes on as a table of its own, with the root's settings
ALTER TABLE t DETACH PARTITION ta;
INSERT INTO ta VALUES (1, 'a', 'detached');
ALTER TABLE t DETACH PARTITION td;
INSERT INTO td VALUES (3, 'd', 'detached');
SELECT operation, tab, key, new_v FROM look() WHERE new_v = 'detached';
SELECT target, healthy FROM audit.attachments WHERE schema_name = 'regress_partitions' ORDER BY table_name;
SELECT * FROM replay_mismatches('ta');

-- case 20: and comes back
ALTER TABLE t ATTACH PARTITION ta FOR VALUES IN ('a');
INSERT INTO ta VALUES (2, 'a', 'leaf');
INSERT INTO t VALUES (3, 'a', 'root');
SELECT operation, tab, key, new_v FROM look() WHERE new_v IN ('leaf', 'root');
SELECT target, healthy FROM audit.attachments WHERE schema_name = 'regress_partitions' ORDER BY table_name;

DROP SCHEMA regress_partitions CASCADE;
