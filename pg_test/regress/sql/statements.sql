-- Case 22: every kind of statement that changes rows; replay after each group.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_statements;
SET search_path = regress_statements;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY, v text);
SELECT audit.attach('a', baseline => true), audit.attach('b', baseline => true);

-- ON CONFLICT: inserted, updated, left alone
INSERT INTO a VALUES (1, 'x'), (2, 'y') ON CONFLICT DO NOTHING;
INSERT INTO a VALUES (2, 'z'), (3, 'z') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO a VALUES (2, 'q'), (4, 'q') ON CONFLICT (id) DO NOTHING;
INSERT INTO a VALUES (2, 'q') ON CONFLICT (id) DO UPDATE SET v = 'q' WHERE a.v = 'nothing';
INSERT INTO a VALUES (2, 'z') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
SELECT op, key, old ->> 'v' AS old, new ->> 'v' AS new FROM look() WHERE op <> 'system' ORDER BY xact_id, statement_id, key;

-- MERGE, all its actions in one; a key that is freed and taken
MERGE INTO a USING (VALUES (1), (2), (3), (9)) AS s (id) ON a.id = s.id
    WHEN MATCHED AND a.id = 3 THEN DELETE
    WHEN MATCHED AND a.id = 2 THEN DO NOTHING
    WHEN MATCHED THEN UPDATE SET v = 'merged'
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged in');
MERGE INTO a USING (VALUES (4), (50)) AS s (id) ON a.id = s.id
    WHEN MATCHED THEN UPDATE SET id = 40
    WHEN NOT MATCHED THEN INSERT VALUES (4, 'took its key');
SELECT dense_rank() OVER (ORDER BY xact_id, statement_id) AS statement, op, key, old_key, new ->> 'v' AS new FROM look()
ORDER BY xact_id, statement_id, op, key;
SELECT * FROM replay_mismatches('a');

-- writable CTEs that touch tables twice; RETURNING; UPDATE … FROM, DELETE … USING
WITH d AS (DELETE FROM a WHERE id = 9 RETURNING *),
     i AS (INSERT INTO a SELECT id + 100, v FROM d RETURNING *),
     j AS (INSERT INTO b SELECT id, v FROM i RETURNING *)
UPDATE a SET v = 'cte' WHERE id = 1 RETURNING id, v;
WITH u AS (UPDATE a SET v = 'first' WHERE id = 2 RETURNING *) UPDATE a SET v = 'second' WHERE id = 2;
WITH i AS (INSERT INTO a VALUES (60, 'i') RETURNING *) UPDATE a SET v = 'cannot see it' WHERE id = 60;
UPDATE a SET v = s.v FROM (VALUES (1, 'from'), (4, 'from')) AS s (id, v) WHERE a.id = s.id;
DELETE FROM a USING b WHERE a.id = b.id RETURNING a.id;
SELECT dense_rank() OVER (ORDER BY xact_id, statement_id) AS statement, op, tab, key, CASE WHEN key <> '2' THEN new ->> 'v' END AS new FROM look()
ORDER BY xact_id, statement_id, op, tab, key;
SELECT t, r.* FROM unnest('{a,b}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- COPY, also into a table that was emptied or made in the same transaction
COPY a FROM stdin;
70	copy
71	\N
\.
BEGIN;
TRUNCATE b;
COPY b FROM stdin WITH (FREEZE);
80	frozen
\.
COMMIT;
BEGIN;
CREATE TABLE c (id int PRIMARY KEY);
SELECT audit.attach('c', baseline => true);
COPY c FROM stdin WITH (FREEZE);
1
2
\.
COMMIT;
SELECT op, tab, key, new ->> 'v' AS new FROM look();
SELECT t, r.* FROM unnest('{a,b,c}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- views: updatable, with INSTEAD OF triggers, with rules; rules on tables
CREATE VIEW simple AS SELECT id, v FROM a WHERE id < 1000 WITH CHECK OPTION;
INSERT INTO simple VALUES (200, 'view');
UPDATE simple SET v = 'through a view' WHERE id = 200;
INSERT INTO simple VALUES (2000, 'beyond');
CREATE VIEW joined AS SELECT a.id, b.v FROM a, b;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE a SET v = new.v WHERE id = new.id; RETURN new; END $$;
CREATE TRIGGER instead INSTEAD OF UPDATE ON joined FOR EACH ROW EXECUTE FUNCTION instead();
UPDATE joined SET v = 'instead of' WHERE id = 200;
CREATE VIEW ruled AS SELECT id FROM c;
CREATE RULE ruled AS ON INSERT TO ruled DO INSTEAD (INSERT INTO c VALUES (new.id); INSERT INTO b VALUES (new.id + 500, 'rule'));
INSERT INTO ruled VALUES (3);
CREATE RULE also AS ON UPDATE TO c DO ALSO INSERT INTO b VALUES (old.id + 600, 'also');
UPDATE c SET id = 4 WHERE id = 3;
DROP RULE also ON c;
CREATE RULE never AS ON DELETE TO c DO INSTEAD NOTHING;
DELETE FROM c;
DROP RULE never ON c;
CREATE RULE other AS ON UPDATE TO c WHERE new.id > 100 DO INSTEAD DELETE FROM c WHERE id = old.id;
UPDATE c SET id = id + 100 WHERE id = 1;
UPDATE c SET id = id + 10 WHERE id = 2;
DROP RULE other ON c;
SELECT op, tab, key, old_key, new ->> 'v' AS new FROM look();
SELECT t, r.* FROM unnest('{a,b,c}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- keys that are swapped at once, or in a deferred constraint
CREATE TABLE k (id int PRIMARY KEY DEFERRABLE, v text);
SELECT audit.attach('k', baseline => true);
INSERT INTO k VALUES (1, 'a'), (2, 'b'), (3, 'c');
UPDATE k SET id = 4 - id;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE k SET id = 2 WHERE id = 1;
UPDATE k SET id = 1 WHERE v = 'b';
COMMIT;
SELECT op, key, old_key FROM look() WHERE op = 'update' ORDER BY xact_id, statement_id, key;
SELECT * FROM replay_mismatches('k');

-- TRUNCATE of several tables, of what references them, with identities restarted
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE f (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, p int REFERENCES p);
SELECT audit.attach('p', baseline => true), audit.attach('f', baseline => true);
INSERT INTO p VALUES (1), (2);
INSERT INTO f (p) VALUES (1), (2);
TRUNCATE p, k RESTART IDENTITY CASCADE;
INSERT INTO p VALUES (1);
INSERT INTO f (p) VALUES (1);
SELECT op, tab, key FROM look() WHERE op <> 'system' ORDER BY xact_id, statement_id, op, tab, key;
SELECT t, r.* FROM unnest('{k,p,f}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- as a replica: what replication tools and bulk loads set
SET session_replication_role = replica;
INSERT INTO a VALUES (300, 'r');
UPDATE a SET v = 'r2' WHERE id = 300;
INSERT INTO a VALUES (300, 'r') ON CONFLICT (id) DO UPDATE SET v = 'r3';
MERGE INTO a USING (VALUES (300)) AS s (id) ON a.id = s.id WHEN MATCHED THEN UPDATE SET v = 'r4';
COPY a FROM stdin;
301	copy
\.
DELETE FROM a WHERE id = 300;
TRUNCATE b;
RESET session_replication_role;
SELECT op, tab, key, new ->> 'v' AS new FROM look();
SELECT t, r.* FROM unnest('{a,b}'::regclass[]) AS t, replay_mismatches(t) AS r;

-- statements that change nothing leave nothing; EXPLAIN ANALYZE does change
UPDATE a SET v = 'none' WHERE false;
DELETE FROM a WHERE id = -1;
EXPLAIN (COSTS off) UPDATE a SET v = 'explained';
SELECT count(*) FROM look();
DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE UPDATE a SET v = ''explained'' WHERE id = 1'; END $$;
PREPARE p AS UPDATE a SET v = $1 WHERE id = $2;
EXECUTE p ('prepared', 1);
SELECT op, key, new ->> 'v' AS new FROM look();
SELECT * FROM replay_mismatches('a');

DROP SCHEMA regress_statements CASCADE;
