-- Upkeep: what audit.maintain() does beyond months, cleanup of the application's own tables, the retention report, status.
SET client_min_messages = warning;
CREATE DATABASE regress_upkeep TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_upkeep
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE ROLE regress_owner;
CREATE TABLE sessions (id int PRIMARY KEY, seen timestamptz);
ALTER TABLE sessions OWNER TO regress_owner;
SELECT audit.attach('sessions');
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, session_user_name, effective_role)
SELECT -1000 + g, '2015-01-10'::timestamptz + g * interval '10 days', '2015-01-10', '3', 0, 1, 'sessions'::regclass, 'insert', gen_random_uuid(),
       'public', 'sessions', g::text, 'old', 'old' FROM generate_series(1, 6) g;
RESET audit.restore;
SELECT * FROM audit.maintain() WHERE task LIKE 'events%';
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
SELECT audit.seal() > 0 AS sealed;

-- the application's own old rows: by the table's owner, audited, in the time zone of the column's type
INSERT INTO sessions SELECT g, now() - g * interval '1 day' FROM generate_series(1, 10) g;
SELECT audit.attach_cleanup('sessions', 'seen', '5 days 12 hours');
SELECT target, cleanup_column, keep FROM audit.cleanups;
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT array_agg(id ORDER BY id) FROM sessions;
SELECT operation, row_key, effective_role, reason FROM audit.audit_events WHERE operation = 'delete' ORDER BY row_key::int;
SELECT audit.attach_cleanup('sessions', 'seen', '2 days 12 hours');
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT array_agg(id ORDER BY id) FROM sessions;
-- a trigger of the table runs with its owner's rights
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'deleted by %', current_user; RETURN OLD; END $$;
CREATE TRIGGER who BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION who();
UPDATE sessions SET seen = now() - interval '3 days' WHERE id = 1;
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
DROP TRIGGER who ON sessions;
-- more rows than a batch has
INSERT INTO sessions SELECT 1000 + g, '2001-01-01' FROM generate_series(1, 25000) g;
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT array_agg(id ORDER BY id) FROM sessions;
-- its partitions, too
CREATE TABLE hits (seen date) PARTITION BY RANGE (seen);
CREATE TABLE hits_1 PARTITION OF hits FOR VALUES FROM ('2000-01-01') TO ('2010-01-01');
CREATE TABLE hits_2 PARTITION OF hits FOR VALUES FROM ('2010-01-01') TO ('2100-01-01');
INSERT INTO hits VALUES ('2001-01-01'), ('2002-01-01'), ('2015-01-01'), (now()::date), (now()::date);
SELECT audit.attach_cleanup('hits', 'seen', '1 year');
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT count(*) FROM hits;
SELECT audit.detach_cleanup('hits');
INSERT INTO hits VALUES ('2001-01-01');
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT audit.detach_cleanup('hits');
SELECT audit.attach_cleanup('hits', 'nothing', '1 year');
SELECT audit.attach_cleanup('sessions', 'id', '1 year');
SELECT audit.attach_cleanup('sessions', 'seen', '-1 year');
SELECT audit.attach_cleanup('sessions', 'seen', NULL);
SELECT audit.attach_cleanup('audit.audit_events', 'occurred_at', '1 year');
GRANT USAGE ON SCHEMA audit TO regress_owner;
GRANT EXECUTE ON FUNCTION audit.attach_cleanup TO regress_owner;
SET ROLE regress_owner;
SELECT audit.attach_cleanup('hits', 'seen', '1 year');
RESET ROLE;

-- a table that cannot be cleaned up fails alone: the others are, it is told, and tried again
CREATE TABLE accounts (name text, seen timestamptz);
CREATE TABLE visits (seen timestamptz);
INSERT INTO accounts VALUES ('Miller', '2001-01-01');
INSERT INTO visits VALUES ('2001-01-01');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% stays', coalesce(to_jsonb(OLD) ->> 'name', TG_RELID::regclass::text) USING ERRCODE = 'raise_exception', HINT = 'Ask.'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT audit.attach_cleanup('accounts', 'seen', '1 year'), audit.attach_cleanup('visits', 'seen', '1 year');
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM visits) AS visits;
SELECT task, subject, sqlstate FROM audit.upkeep_failures;
SELECT item, value, ok, hint FROM audit.status() WHERE item LIKE 'failed%';
SELECT count(*) AS "personal data in the log" FROM audit.audit_events e WHERE e::text LIKE '%Miller%';
ALTER TABLE accounts RENAME TO people;
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT task, subject, sqlstate FROM audit.upkeep_failures;
ALTER TABLE people DISABLE TRIGGER refuse;
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
SELECT task, subject, sqlstate FROM audit.upkeep_failures;
SELECT action, table_name, context - 'installation' AS context FROM audit.audit_events WHERE action LIKE '% upkeep' ORDER BY event_id;
-- a cancel is meant for all of it
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN OLD; END $$;
CREATE TRIGGER sleep BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION sleep();
INSERT INTO people VALUES ('Smith', '2001-01-01');
INSERT INTO visits VALUES ('2001-01-01');
SET statement_timeout = '1s';
SELECT * FROM audit.maintain() WHERE task LIKE 'rows%';
RESET statement_timeout;
SELECT (SELECT count(*) FROM people) AS people, (SELECT count(*) FROM visits) AS visits, (SELECT count(*) FROM audit.upkeep_failures) AS failures;
SELECT audit.detach_cleanup('people'), audit.detach_cleanup('visits');

-- the report, before and after
SELECT audit.set_retention('7 years') AS policy;
SELECT audit.hold('case', target => 'sessions', row_key => '2', reason => 'court') > 0 AS held;
SELECT month, subject, events, policy, due_at, holds FROM audit.retention_report() WHERE month < '2016-01-01';
SELECT item, value, ok, hint FROM audit.status() WHERE item LIKE 'months due%' OR item LIKE '%holds' OR item LIKE 'retention%';
SELECT audit.release_hold('case', 'settled');
SELECT item, value, ok, hint FROM audit.status() WHERE item LIKE 'months due%';
-- so does a partition that cannot be pruned
CREATE TRIGGER refuse BEFORE TRUNCATE ON audit.audit_events_2015_02 FOR EACH STATEMENT EXECUTE FUNCTION refuse();
SELECT * FROM audit.maintain() WHERE task LIKE '%pruned';
SELECT task, subject, sqlstate FROM audit.upkeep_failures;
SELECT partition, due, pruned, method FROM audit.apply_retention(false);
CREATE VIEW old_events AS SELECT * FROM audit.audit_events_2015_01;
CALL audit.prune();
SELECT task, subject, sqlstate FROM audit.upkeep_failures ORDER BY subject;
SELECT count(*) AS declared FROM audit.audit_events d, jsonb_array_elements(d.context -> 'events') WHERE d.action = 'prune' AND d.context ->> 'partition' = 'audit_events_2015_02';
DROP TRIGGER refuse ON audit.audit_events_2015_02;
DROP VIEW old_events;
SELECT * FROM audit.maintain() WHERE task LIKE '%pruned';
CALL audit.prune();
SELECT task, subject, sqlstate FROM audit.upkeep_failures;
SELECT count(*) AS "old months left" FROM audit.log_partitions WHERE ends < '2018-01-01' AND NOT is_default;
SELECT month, subject, events, policy, pruned, last_pruned_at > now() - interval '1 hour' AS just, pruned_under FROM audit.retention_report() WHERE month < '2016-01-01';
SELECT item, value, ok FROM audit.status() WHERE item LIKE 'months due%' OR item = 'last upkeep';

DROP OWNED BY regress_owner;
DROP ROLE regress_owner;
\c regression
DROP DATABASE regress_upkeep;
