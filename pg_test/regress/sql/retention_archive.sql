-- What audit.record_archive takes for an archive of this log, and what not; and what a policy that asks for archives then prunes.
SET client_min_messages = warning;
CREATE DATABASE regress_archive TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_archive
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('notes');
SELECT setval('audit.audit_events_event_id_seq', 20000);
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, session_user_name, effective_role)
SELECT 10000 + n, at, at, '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', n::text, 'old', 'old'
FROM unnest('{2015-01-05,2015-01-06,2015-01-07,2015-02-01,2015-02-02}'::timestamptz[]) WITH ORDINALITY AS t (at, n);
RESET audit.restore;
SELECT sum(done) > 0 AS drained FROM audit.maintain();
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
SELECT audit.seal() > 0 AS sealed;

-- The manifest that attest would write of a month, by the format's page; `lies` replaces members.
CREATE FUNCTION root_of(hashes bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(hashes);
    k int := 1;
BEGIN
    IF n = 1 THEN RETURN hashes[1]; END IF;
    WHILE k * 2 < n LOOP k := k * 2; END LOOP;
    RETURN sha256('\x01' || root_of(hashes[1:k]) || root_of(hashes[k + 1:n]));
END
$$;
CREATE FUNCTION manifest(month text, lies jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_pretty(jsonb_build_object(
        'format', 'pg_attest/archive/v1', 'partition', p.name,
        'from', (extract(epoch FROM p.starts) * 1000000)::bigint, 'until', (extract(epoch FROM p.ends) * 1000000)::bigint,
        'archived_at', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        'first_event_id', min(l.event_id), 'last_event_id', max(l.event_id),
        'leaves', jsonb_agg(jsonb_build_array(1, l.leaf_index, l.leaf_index) ORDER BY l.leaf_index),
        'count', count(*), 'root', encode(root_of(array_agg(l.leaf_hash ORDER BY l.leaf_index)), 'base64'),
        'epochs', (SELECT jsonb_build_array(jsonb_build_object('epoch', 1, 'origin', origin, 'tree_size', tree_size, 'root', encode(root, 'base64')))
                   FROM audit.checkpoints JOIN audit.epochs USING (epoch) ORDER BY tree_size DESC LIMIT 1),
        'events', jsonb_build_array(jsonb_build_object('rows', count(*)))) || lies)
    FROM audit.log_partitions p, audit.leaves(0, 1000000) l JOIN audit.audit_events e USING (event_id)
    WHERE p.name = month AND e.occurred_at >= p.starts AND e.occurred_at < p.ends
    GROUP BY p.name, p.starts, p.ends
$$;

-- lies
\set january audit_events_2015_01
SELECT audit.record_archive('file:///a', NULL);
SELECT audit.record_archive(NULL, manifest(:'january'));
SELECT audit.record_archive('file:///a', 'no JSON');
SELECT audit.record_archive('file:///a', '{"format": "pg_attest/archive/v1"}');
SELECT audit.record_archive('file:///a', manifest(:'january', '{"format": "pg_attest/archive/v2"}'));
-- of the partition
SELECT audit.record_archive('file:///a', manifest(:'january', '{"partition": "audit_events_2014_01"}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"partition": "audit_events_2015_02"}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"until": 1422748800000001}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"archived_at": 1422748799999999}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"archived_at": 4102444800000000}'));
-- another month's events under this one's name
SELECT audit.record_archive('file:///a', manifest(:'january', jsonb_strip_nulls(manifest('audit_events_2015_02')::jsonb - '{partition,from,until}'::text[])));
-- of the leaves
SELECT audit.record_archive('file:///a', manifest(:'january', '{"leaves": [[1, 2, 1]]}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"leaves": [[1, 0, 9000]]}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"leaves": [[2, 0, 2]]}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"count": 4}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"events": [{"rows": 2}]}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"root": "eyutgcQ0xzTP3/y52x9zaUT0izau+A+rTPsqImvUzF8="}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"root": "x"}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"first_event_id": 10000}'));
SELECT audit.record_archive('file:///a', manifest(:'january', '{"last_event_id": 10004}'));
-- of the checkpoint
SELECT audit.record_archive('file:///a', manifest(:'january', jsonb_build_object('epochs', jsonb_set(manifest(:'january')::jsonb -> 'epochs', '{0,tree_size}', '9'))));
SELECT audit.record_archive('file:///a', manifest(:'january', jsonb_build_object('epochs', jsonb_set(manifest(:'january')::jsonb -> 'epochs', '{0,tree_size}', '1'))));
SELECT audit.record_archive('file:///a', manifest(:'january', jsonb_build_object('epochs', jsonb_set(manifest(:'january')::jsonb -> 'epochs', '{0,origin}', '"example.org/log"'))));
SELECT audit.record_archive('file:///a', manifest(:'january', jsonb_build_object('epochs', jsonb_set(manifest(:'january')::jsonb -> 'epochs', '{0,root}', '"eyutgcQ0xzTP3/y52x9zaUT0izau+A+rTPsqImvUzF8="'))));
SELECT count(*) AS recorded FROM audit.archives;

-- no lie: what it names, and nothing else, may be pruned
SELECT audit.set_retention('1 year', require_archive => true);
SELECT partition, due, not_archived, pruned FROM audit.apply_retention();
SELECT item, value, ok, hint FROM audit.status() WHERE item LIKE 'months to archive%';
SELECT manifest(:'january') AS manifest \gset
SELECT audit.record_archive('file:///a', :'manifest') > 0 AS recorded;
SELECT uri, partition, first_event_id, last_event_id, epoch, events, root = decode(:'manifest'::jsonb ->> 'root', 'base64') AS root,
       manifest_sha256 = sha256(convert_to(:'manifest', 'UTF8')) AS manifest,
       extract(epoch FROM archived_at) * 1000000 = (:'manifest'::jsonb ->> 'archived_at')::bigint AS archived_at, recorded_by = session_user AS mine FROM audit.archives;
SELECT item, value, ok, hint FROM audit.status() WHERE item LIKE 'months to archive%';
-- a hold beats the archive, whoever prunes
SELECT audit.hold('case', target => 'notes', row_key => '2', reason => 'court') > 0 AS held;
SELECT partition, due, held, not_archived, pruned FROM audit.apply_retention(false);
CALL audit.prune();
SELECT task, done FROM audit.maintain() WHERE task = 'events pruned';
SELECT row_key FROM audit.audit_events WHERE operation = 'insert' ORDER BY 1;
SELECT audit.release_hold('case', 'settled');
SELECT partition, due, not_archived, pruned FROM audit.apply_retention(false);
-- recorded once more when its events are gone: the leaves are still there
SELECT audit.record_archive('file:///b', :'manifest') > 0 AS recorded;
-- the report tells where, and of which time what went is
SELECT month, subject, events, oldest, newest, archived_in, pruned FROM audit.retention_report() WHERE month < '2016-01-01' ORDER BY month, pruned, oldest;
-- what came to the month after its archive has to be archived, too
SELECT audit.record_archive('file:///c', manifest('audit_events_2015_02')) > 0 AS recorded;
SELECT name FROM audit.months_to_archive;
BEGIN;
SET LOCAL audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, session_user_name, effective_role)
SELECT 10006, '2015-02-28', '2015-03-01', '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', '6', 'old', 'old';
SELECT name FROM audit.months_to_archive;
ROLLBACK;

\c regression
DROP DATABASE regress_archive;
