-- The log: seals, checkpoints, tiles, proofs. In a database of its own: other tests write to the log, too.
SET client_min_messages = warning;
CREATE DATABASE regress_log TEMPLATE template0 ENCODING 'UTF8';
\c regress_log
SET client_min_messages = warning;
CREATE EXTENSION pg_attest;
\set SHOW_CONTEXT never

-- nothing happened: nothing is sealed, and there is no checkpoint
SELECT audit.seal();
SELECT count(*) FROM audit.checkpoints;
SELECT audit.checkpoint_note() IS NULL AS none, audit.tile(0, 0) IS NULL AS "no tile", audit.consistency_proof(0, 0) IS NULL AS "no proof";
SELECT * FROM audit.unsealed();
SELECT * FROM audit.verify();

CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT audit.attach('t');
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 10) g;
UPDATE t SET v = 'w' WHERE id = 3;
SELECT events FROM audit.unsealed();
CREATE VIEW sealing AS
SELECT item, CASE item WHEN 'age of the oldest unsealed event' THEN CASE WHEN value::interval < '1 hour' THEN 'under an hour' END
                       ELSE regexp_replace(value, ', [^,]+$', ', (when)') END AS value, ok, hint IS NULL AS "no hint"
FROM audit.status()
WHERE item IN ('unsealed events', 'age of the oldest unsealed event', 'sealer', 'last checkpoint', 'signatures of the last checkpoint');
SELECT * FROM sealing;
SELECT audit.seal();
SELECT audit.seal() AS again;
SELECT events FROM audit.unsealed();
SELECT * FROM sealing;
SELECT epoch, tree_size FROM audit.checkpoints;
SELECT epoch, event_id FROM audit.epochs;
SELECT origin ~ ('^pg_attest/' || system_identifier || '/1/' || d.oid || '/' || replace(i.id::text, '-', '') || '/1$') AS origin
FROM audit.epochs, audit.installation i, pg_control_system(), pg_database d WHERE d.datname = current_database();
SELECT string_to_array(audit.checkpoint_note(), E'\n') = ARRAY[origin, '12', encode(root, 'base64'), '', ''] AS note
FROM audit.epochs, audit.checkpoints;
SELECT * FROM audit.verify();

-- leaves stand in the order of transaction, statement and event
CREATE VIEW tree AS
SELECT l.leaf_index, e.operation, e.row_key
FROM audit.leaves(0, 1000000) l LEFT JOIN audit.audit_events e USING (event_id) ORDER BY l.leaf_index;
SELECT * FROM tree;
SELECT count(*) AS misplaced FROM (
    SELECT l.leaf_index, row_number() OVER (ORDER BY xact_id, statement_id, event_id) - 1 AS place
    FROM audit.leaves(0, 1000000) l JOIN audit.audit_events e USING (event_id)) o WHERE leaf_index <> place;

-- the tree is RFC 6962's, computed here once more in SQL
CREATE FUNCTION root_of(hashes bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(hashes);
    k int := 1;
BEGIN
    IF n = 0 THEN RETURN sha256(''); END IF;
    IF n = 1 THEN RETURN hashes[1]; END IF;
    WHILE k * 2 < n LOOP k := k * 2; END LOOP;
    RETURN sha256('\x01' || root_of(hashes[1:k]) || root_of(hashes[k + 1:n]));
END
$$;
CREATE VIEW roots AS
SELECT c.tree_size, c.root = root_of(ARRAY(SELECT leaf_hash FROM audit.leaves(0, c.tree_size) ORDER BY leaf_index)) AS "RFC 6962"
FROM audit.checkpoints c ORDER BY 1;
SELECT * FROM roots;
SELECT count(*) AS "leaves not of their data" FROM audit.leaves(0, 1000000)
WHERE leaf_hash <> sha256('\x00' || audit.event_leaf(event_id));
SELECT length(audit.event_leaf(event_id)) FROM audit.leaves(3, 1);
SELECT audit.event_leaf(-5);

-- what a transaction wrote itself is sealed once it has ended; what was rolled back never
BEGIN;
INSERT INTO t VALUES (100, 'mine');
SELECT audit.seal();
INSERT INTO t VALUES (101, 'mine, too');
SELECT audit.seal();
COMMIT;
SELECT audit.seal();
BEGIN;
INSERT INTO t VALUES (102, 'never');
ROLLBACK;
SELECT audit.seal();
BEGIN;
INSERT INTO t VALUES (103, 'yes');
SAVEPOINT a;
INSERT INTO t VALUES (104, 'no');
ROLLBACK TO a;
INSERT INTO t VALUES (105, 'yes');
COMMIT;
SELECT audit.seal();
-- a seal that is rolled back seals nothing
INSERT INTO t VALUES (106, 'later');
BEGIN;
SELECT audit.seal();
SELECT audit.seal();
ROLLBACK;
SELECT audit.seal();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM audit.checkpoints;
SELECT audit.seal();
COMMIT;
BEGIN READ ONLY;
SELECT audit.seal();
ROLLBACK;
SELECT * FROM tree OFFSET 12;
SELECT * FROM roots;

-- more than one tile
INSERT INTO t SELECT g, 'many' FROM generate_series(1001, 1500) g;
SELECT audit.seal();
DELETE FROM t WHERE id > 1400;
SELECT audit.seal();
INSERT INTO t SELECT g, 'many' FROM generate_series(2001, 2300) g;
SELECT audit.seal();
SELECT level, tile_index, length(hashes), cardinality(event_ids) FROM audit.tiles ORDER BY 1, 2;
SELECT sum(cardinality(event_ids)) FROM audit.tree_edge;
SELECT * FROM roots;
SELECT count(*) AS leaves, count(DISTINCT event_id) AS events FROM audit.leaves(0, 1000000);
SELECT count(*) AS unplaced FROM audit.audit_events e
WHERE NOT EXISTS (SELECT FROM audit.find_leaf(e.event_id) f JOIN audit.leaves(f.leaf_index, 1) l ON l.event_id = e.event_id);
SELECT * FROM audit.find_leaf(-5);
-- tiles as they were at any size
SELECT length(audit.tile(0, 3)) AS partial, length(audit.tile(0, 0, 12)) AS "at 12", length(audit.tile(1, 0)) AS upper, audit.tile(0, 4) IS NULL AS beyond;
SELECT audit.tile(0, 0, 11);
SELECT (SELECT string_agg(leaf_hash, '' ORDER BY leaf_index) FROM audit.leaves(256, 256)) = audit.tile(0, 1) AS tile,
       (SELECT root FROM audit.tiles WHERE level = 0 AND tile_index = 1) = substr(audit.tile(1, 0), 33, 32) AS upper;

-- proofs
SELECT string_to_array(audit.inclusion_proof(event_id), E'\n') AS proof FROM audit.leaves(100, 1) \gset
SELECT (:'proof'::text[])[1] AS header, (:'proof'::text[])[3] AS index;
SELECT count(*) AS "proved to each checkpoint" FROM audit.checkpoints c, audit.leaves(5, 1) l
WHERE audit.inclusion_proof(l.event_id, c.tree_size) LIKE '%' || encode(c.root, 'base64') || '%';
SELECT cardinality(audit.consistency_proof(12, 600)) > 5 AS proof, audit.consistency_proof(600, 600) AS same;
SELECT audit.consistency_proof(13, 12);
SELECT audit.consistency_proof(12, 100000);
INSERT INTO t VALUES (107, 'not yet');
\set VERBOSITY sqlstate
SELECT audit.inclusion_proof(max(event_id)) IS NULL FROM audit.audit_events;
\set VERBOSITY default
SELECT audit.inclusion_proof(-5);

-- signatures and timestamps
SELECT audit.add_signature(12, 'no line');
SELECT audit.add_signature(11, E'\u2014 someone AAAAAAAAAAAA');
SELECT audit.add_signature(12, E'\u2014 someone AAAAAAAAAAAA');
SELECT audit.add_signature(12, E'\u2014 someone AAAAAAAAAAAA');
SELECT tree_size, line, added_by FROM audit.checkpoint_signatures;
SELECT right(audit.checkpoint_note(12), 24);
SELECT audit.add_signature(max(tree_size), E'\u2014 someone AAAAAAAAAAAA') FROM audit.checkpoints;
SELECT * FROM sealing;
SELECT audit.add_timestamp(12, 'nonsense');
SELECT audit.add_timestamp(12, '\x3003020100');
SELECT audit.add_timestamp(12, '\x3003020100');
SELECT tree_size, token, added_by FROM audit.checkpoint_timestamps;

SELECT audit.seal();
SELECT * FROM audit.verify();
SELECT * FROM audit.verify(workers => 2);
SELECT * FROM audit.verify_chain();
SELECT v.* FROM audit.leaves(300, 1) l, audit.verify_event(l.event_id) v;
SELECT check_name, ok, checked FROM audit.leaves(300, 1) l, audit.verify(from_event => l.event_id) v WHERE check_name = 'events';
SELECT check_name, ok, checked FROM audit.verify(since_size => 918) WHERE check_name = 'events';
SELECT check_name, ok, checked FROM audit.verify(sample => 0) WHERE check_name = 'events';
SELECT audit.verify(sample => 2);

-- append-only
\set VERBOSITY terse
SET session_replication_role = replica;
INSERT INTO audit.checkpoints SELECT * FROM audit.checkpoints;
UPDATE audit.tiles SET level = 7;
DELETE FROM audit.tree_edge;
TRUNCATE audit.epochs, audit.checkpoints;
DELETE FROM audit.checkpoint_signatures;
DELETE FROM audit.checkpoint_timestamps;
RESET session_replication_role;
DROP TABLE audit.tiles;
\set VERBOSITY default

\c regression
DROP DATABASE regress_log;
