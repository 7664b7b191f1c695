-- Who sees policies, holds, archives and the report: a reader sees all that a superuser does and changes nothing; others see nothing.
SET client_min_messages = warning;
CREATE DATABASE regress_readers TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_readers
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE ROLE regress_reader;
CREATE ROLE regress_nobody;
SELECT audit.grant_access('regress_reader', 'reader');
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('notes');
SELECT setval('audit.audit_events_event_id_seq', 20000);
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, session_user_name, effective_role)
VALUES (10001, '2015-01-05', '2015-01-05', '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', '1', 'old', 'old'),
       (10002, '2015-02-05', '2015-02-05', '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', '2', 'old', 'old'),
       (10003, '2015-03-05', '2015-03-05', '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', '3', 'old', 'old');
RESET audit.restore;
SELECT sum(done) > 0 AS drained FROM audit.maintain();
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
SELECT audit.seal() > 0 AS sealed;

-- one of everything: January is archived and pruned, February held, March waits for an archive
SELECT audit.record_archive('file:///archive/audit_events_2015_01', (
    SELECT jsonb_build_object(
        'format', 'pg_attest/archive/v1', 'partition', p.name,
        'from', (extract(epoch FROM p.starts) * 1000000)::bigint, 'until', (extract(epoch FROM p.ends) * 1000000)::bigint,
        'archived_at', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'first_event_id', l.event_id, 'last_event_id', l.event_id,
        'leaves', jsonb_build_array(jsonb_build_array(1, l.leaf_index, l.leaf_index)), 'count', 1, 'root', encode(l.leaf_hash, 'base64'),
        'epochs', (SELECT jsonb_build_array(jsonb_build_object('epoch', 1, 'origin', origin, 'tree_size', tree_size, 'root', encode(root, 'base64')))
                   FROM audit.checkpoints JOIN audit.epochs USING (epoch) ORDER BY tree_size DESC LIMIT 1),
        'events', jsonb_build_array(jsonb_build_object('rows', 1)))::text
    FROM audit.log_partitions p, audit.leaves(0, 1000000) l WHERE p.name = 'audit_events_2015_01' AND l.event_id = 10001)) > 0 AS recorded;
SELECT audit.set_retention('7 years', require_archive => true, locked => true), audit.set_retention('1 year', category => 'login');
SELECT audit.hold('settled', target => 'notes', row_key => '1', reason => 'court') > 0 AS held;
SELECT audit.release_hold('settled', 'settled');
SELECT audit.hold('case', target => 'notes', row_key => '2', reason => 'court') > 0 AS held;
CREATE TABLE visits (at timestamptz);
INSERT INTO visits VALUES ('2001-01-01');
SELECT audit.attach_cleanup('visits', 'at', '1 year');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stays'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON visits FOR EACH ROW EXECUTE FUNCTION refuse();
SET client_min_messages = error;
SELECT task, done FROM audit.maintain() WHERE task IN ('events pruned', 'rows cleaned up') ORDER BY task;
SET client_min_messages = warning;
-- the names of what is read, and what each tells whoever asks
CREATE TABLE readable (name text);
INSERT INTO readable VALUES ('audit.retention_policies'), ('audit.holds'), ('audit.archives'), ('audit.cleanups'), ('audit.upkeep_failures'),
    ('audit.months_to_archive'), ('audit.retention_report()');
CREATE FUNCTION told() RETURNS TABLE (what text, lines bigint, said text) LANGUAGE plpgsql AS $$
BEGIN
    FOR what IN SELECT name FROM public.readable LOOP
        EXECUTE format('SELECT count(*), string_agg(r::text, chr(10) ORDER BY r::text) FROM %s r', what) INTO lines, said;
        RETURN NEXT;
    END LOOP;
END
$$;
GRANT SELECT ON readable TO PUBLIC;

-- a reader sees the same, and may look at what is to be done
BEGIN;
CREATE TABLE expected AS SELECT * FROM told();
GRANT SELECT ON expected TO regress_reader;
SET LOCAL ROLE regress_reader;
SELECT what, lines, t.said IS NOT DISTINCT FROM e.said AS "as a superuser" FROM told() t JOIN expected e USING (what, lines) ORDER BY what;
SELECT policy, category, keep, locked, require_archive, cutoff < now() AS past FROM audit.retention_policies ORDER BY policy;
SELECT name, active, target, row_key, reason, release_reason FROM audit.holds ORDER BY name;
SELECT uri, partition, events FROM audit.archives;
SELECT month, subject, events, policy, holds, archived_in, pruned, pruned_under FROM audit.retention_report() WHERE month < '2016-01-01' ORDER BY month, events;
SELECT item, value, ok FROM audit.status() WHERE item IN ('active holds', 'retention policies', 'months to archive before they are due', 'failed parts of upkeep') ORDER BY item;
COMMIT;

-- and changes nothing; nobody else sees or does anything
CREATE TABLE changes (what text);
INSERT INTO changes VALUES ('SELECT audit.set_retention(NULL)'), ('SELECT audit.drop_retention(category => ''login'')'),
    ('SELECT audit.hold(''mine'', target => ''notes'', reason => ''x'')'), ('SELECT audit.release_hold(''case'', ''x'')'),
    ('SELECT * FROM audit.apply_retention()'), ('SELECT * FROM audit.apply_retention(false)'), ('SELECT * FROM audit.prune_batch()'),
    ('CALL audit.prune()'), ('SELECT audit.clear(''login'', ''x'')'), ('SELECT audit.erase(''notes'', ''3'', ''x'')'),
    ('SELECT audit.wipe_free_space()'), ('SELECT audit.record_archive(''file:///a'', ''{}'')'), ('SELECT audit.drop_archived(''a'')'),
    ('SELECT audit.attach_cleanup(''notes'', ''id'', ''1 day'')'), ('SELECT audit.detach_cleanup(''visits'')'), ('SELECT * FROM audit.maintain()');
GRANT SELECT ON changes TO PUBLIC;
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SET ROLE regress_reader;
SELECT attempt(what) AS answer, count(*) FROM changes GROUP BY 1;
SELECT what FROM changes WHERE attempt(what) <> '42501';
SET ROLE regress_nobody;
SELECT attempt(what) AS answer, count(*) FROM changes GROUP BY 1;
SELECT attempt('SELECT FROM ' || name) AS answer, count(*) FROM readable GROUP BY 1;
SELECT attempt('SELECT FROM audit.status()'), attempt('SELECT FROM audit.audit_events'), attempt('SELECT FROM audit.holds_in_force');
RESET ROLE;
SELECT count(*) AS policies FROM audit.retention_policies;
SELECT count(*) AS "active holds" FROM audit.holds WHERE active;
SELECT row_key FROM audit.audit_events WHERE operation = 'insert' ORDER BY 1;

DROP OWNED BY regress_reader, regress_nobody;
\c regression
DROP DATABASE regress_readers;
DROP ROLE regress_reader, regress_nobody;
