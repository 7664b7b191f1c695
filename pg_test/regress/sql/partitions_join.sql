-- Cases 18, 20: tables that become partitions, with and without a trail of their own; moves under session_replication_role.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_partitions_join;
SET search_path = regress_partitions_join;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE TABLE audited (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE audited_a PARTITION OF audited FOR VALUES IN ('a');
CREATE TABLE audited_b PARTITION OF audited FOR VALUES IN ('b');
CREATE TABLE unaudited (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
SELECT audit.attach('audited', baseline => true);

-- case 20: an attached table does not fall out of the audit by becoming a partition of an unattached root
CREATE TABLE g (id int, k text, PRIMARY KEY (id, k));
SELECT audit.attach('g', baseline => true);
DO $$
BEGIN
    ALTER TABLE unaudited ATTACH PARTITION g FOR VALUES IN ('g');
    RAISE WARNING 'was not refused';
EXCEPTION WHEN OTHERS THEN
    NULL;
END
$$;
INSERT INTO g VALUES (1, 'g');
SELECT target, healthy, problems FROM audit.attachments WHERE target = 'g'::regclass;
SELECT * FROM replay_mismatches('g');
-- detached, it may
SELECT audit.detach('g', 'to become a partition');
ALTER TABLE unaudited ATTACH PARTITION g FOR VALUES IN ('g');
INSERT INTO unaudited VALUES (2, 'g');
SELECT op, tab, key, action FROM look() WHERE op <> 'ddl' AND tab = 'g';

-- case 20: as a partition of an attached root its own registration ends
CREATE TABLE h (id int, k text, PRIMARY KEY (id, k));
SELECT audit.attach('h');
INSERT INTO h VALUES (1, 'h');
ALTER TABLE audited ATTACH PARTITION h FOR VALUES IN ('h');
INSERT INTO h VALUES (2, 'h');
INSERT INTO audited VALUES (3, 'h');
SELECT op, tab, key, action FROM look() WHERE op <> 'ddl';
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_partitions_join' ORDER BY table_name;
SELECT audit.detach('audited', 'again, for a baseline');
SELECT audit.attach('audited', baseline => true);
SELECT * FROM replay_mismatches('audited');

-- case 20: a whole tree joins; CONCURRENTLY leaves
CREATE TABLE sub (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE sub_1 PARTITION OF sub FOR VALUES IN ('s1');
CREATE TABLE sub_2 PARTITION OF sub DEFAULT;
ALTER TABLE audited ATTACH PARTITION sub FOR VALUES IN ('s1', 's2');
INSERT INTO sub_1 VALUES (1, 's1');
INSERT INTO sub VALUES (2, 's2');
SELECT * FROM replay_mismatches('audited');
ALTER TABLE audited DETACH PARTITION sub CONCURRENTLY;
INSERT INTO sub_1 VALUES (3, 's1');
SELECT op, tab, key FROM look() WHERE op = 'insert';
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_partitions_join' ORDER BY table_name;

-- case 18: moves under session_replication_role = replica
SET session_replication_role = replica;
INSERT INTO audited VALUES (10, 'a'), (11, 'a'), (12, 'b');
UPDATE audited SET k = 'b' WHERE id = 10;
UPDATE audited SET k = CASE k WHEN 'a' THEN 'b' ELSE 'a' END, id = id + 100 WHERE id IN (11, 12);
DELETE FROM audited_b WHERE id = 10;
RESET session_replication_role;
SELECT op, tab, key, old_key FROM look() WHERE op <> 'ddl' AND tab = 'audited' ORDER BY xact_id, statement_id, key;
SELECT audit.detach('audited', 'again, for a baseline');
SELECT audit.attach('audited', baseline => true);
SET session_replication_role = replica;
UPDATE audited SET k = 'b' WHERE id = 112;
TRUNCATE audited_b;
RESET session_replication_role;
SELECT * FROM replay_mismatches('audited');

DROP SCHEMA regress_partitions_join CASCADE;
