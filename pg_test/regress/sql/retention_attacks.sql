-- Who administers retention, or owns a table, gets no further than that.
SET client_min_messages = warning;
CREATE DATABASE regress_retention_attacks TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_retention_attacks
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
CREATE ROLE regress_mallory;
CREATE SCHEMA attacks;
GRANT CREATE, USAGE ON SCHEMA attacks TO regress_mallory;
SELECT audit.grant_access('regress_mallory', 'admin');
CREATE TABLE attacks.apicall (at timestamptz);
INSERT INTO attacks.apicall SELECT now() - interval '1 year' FROM generate_series(1, 3);
SELECT audit.attach_cleanup('attacks.apicall', 'at', '90 days');
SET ROLE regress_mallory;
SET search_path = attacks;

-- what is deferred runs as who deferred it, not as the owner of a table that is cleaned up
CREATE TABLE queue (i int);
CREATE TABLE ran (step int, as_role name);
GRANT INSERT ON ran TO PUBLIC;
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ran VALUES (new.i, current_user);
    IF new.i < 3 THEN
        SET CONSTRAINTS ALL DEFERRED;
        INSERT INTO queue VALUES (new.i + 1);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON queue DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trap();
BEGIN;
INSERT INTO queue VALUES (1);
SELECT task, done FROM audit.maintain() WHERE task = 'rows cleaned up';
COMMIT;
SELECT * FROM ran ORDER BY step;
-- nor as the owner of a function that calls audit.maintain()
RESET ROLE;
CREATE FUNCTION attacks.upkeep() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT sum(done)::bigint FROM audit.maintain()';
SET ROLE regress_mallory;
TRUNCATE ran;
BEGIN;
INSERT INTO queue VALUES (1);
SELECT attacks.upkeep() IS NULL;
COMMIT;
SELECT * FROM ran ORDER BY step;

-- what the triggers of a table that is cleaned up do is recorded as ever
CREATE TABLE watched (id int PRIMARY KEY);
SELECT audit.attach('watched');
CREATE TABLE swept (at timestamptz);
INSERT INTO swept SELECT now() - interval '1 year';
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE attacks.watched ADD COLUMN sneaked_in int;
    RETURN old;
END $$;
CREATE TRIGGER change BEFORE DELETE ON swept FOR EACH ROW EXECUTE FUNCTION change();
SELECT audit.attach_cleanup('swept', 'at', '90 days');
SELECT done FROM audit.maintain() WHERE task = 'rows cleaned up';
SELECT operation, table_name, session_user_name = session_user AS mine, effective_role FROM audit.audit_events WHERE operation = 'ddl' AND table_name = 'watched';

-- no setting makes policies or holds unreadable
SELECT audit.set_retention('170000000 years', category => 'for ever', locked => true);
SELECT audit.set_retention('1001 years', category => 'for ever', locked => true);
BEGIN;
SELECT audit.set_retention('1000 years', category => 'for ever', locked => true);
SELECT policy, keep FROM audit.retention_policies;
ROLLBACK;
DO $$
BEGIN
    PERFORM audit.hold_with('unreadable', NULL, NULL, NULL, 'garbage', 'why');
    RAISE EXCEPTION 'garbage is taken';
EXCEPTION WHEN invalid_text_representation THEN
    NULL;
END $$;
BEGIN;
SET LOCAL DateStyle = 'SQL, DMY';
SET LOCAL TimeZone = 'Europe/Zurich';
SELECT audit.hold('Ides', period => tstzrange('15/03/0044 BC', '01/12/2026'), reason => 'Brutus') > 0 AS held;
SET LOCAL DateStyle = 'ISO, MDY';
SET LOCAL TimeZone = 'UTC';
SELECT name, active, period FROM audit.holds;
ROLLBACK;

-- a table's events are known by its OID: renaming and dropping it takes nothing out of its policy or a hold
CREATE TABLE record (id int PRIMARY KEY, v text);
SELECT audit.attach('record');
SELECT audit.set_retention('10 years', target => 'record', locked => true);
SELECT audit.hold('court', target => 'record', reason => 'case 12') > 0 AS held;
SELECT audit.hold('row', target => 'record', row_key => '1', reason => 'case 13') > 0 AS held;
INSERT INTO record VALUES (1, 'before');
ALTER TABLE record RENAME TO renamed;
INSERT INTO renamed VALUES (2, 'after');
UPDATE renamed SET id = 3 WHERE id = 1;
DROP TABLE renamed;
CREATE TABLE renamed (id int);
SELECT audit.set_retention('1 microsecond', target => 'renamed');
SELECT audit.set_retention('1 microsecond');
SELECT audit.seal() > 0 AS sealed;
SELECT policy, subject, sum(due) AS due FROM audit.apply_retention() WHERE subject LIKE '%rename%' OR subject LIKE '%record%' GROUP BY 1, 2;
SELECT operation, table_name, h.names FROM audit.audit_events e
CROSS JOIN LATERAL (SELECT array_agg(h.name ORDER BY h.name) AS names FROM audit.holds_in_force h WHERE e.table_oid = h.table_oid AND (h.keys IS NULL OR e.row_key = ANY (h.keys))) h
WHERE operation IN ('insert', 'update') AND e.schema_name = 'attacks' ORDER BY event_id;
SELECT subject, events, policy, holds FROM audit.retention_report() WHERE subject LIKE '%rename%' OR subject LIKE '%record%' ORDER BY subject;
SELECT name, active, target, table_name FROM audit.holds ORDER BY name;
SELECT policy, target, keep, locked FROM audit.retention_policies ORDER BY policy;

-- erasing a row takes nothing away from a hold on it
CREATE TABLE person (id int PRIMARY KEY, name text);
SELECT audit.attach('person');
INSERT INTO person VALUES (1, 'Ada');
SELECT audit.hold('next year', target => 'person', row_key => '1', period => '[2030-01-01,2031-01-01)', reason => 'case 14') > 0 AS held;
SELECT audit.seal() > 0 AS sealed;
SELECT audit.erase('person', '1', 'she asked for it');
SELECT name, active, row_key, period FROM audit.holds WHERE name IS NULL OR name = 'next year';

RESET ROLE;
-- a superuser who replaces what pruning and clearing read gets nothing pruned that a locked policy keeps
CREATE TABLE evidence (id int PRIMARY KEY);
SELECT audit.attach('evidence');
INSERT INTO evidence VALUES (1);
SELECT audit.log_event('seized', category => 'evidence') > 0 AS logged;
SELECT audit.set_retention('7 years', target => 'evidence', locked => true), audit.set_retention('7 years', category => 'evidence', locked => true);
SELECT audit.seal() > 0 AS sealed;
CREATE VIEW outcome AS
SELECT (SELECT count(*) FROM audit.audit_events WHERE (table_name = 'evidence' AND operation = 'insert') OR (category = 'evidence' AND operation = 'event')) AS "left",
       (SELECT count(*) FROM audit.audit_events WHERE action = 'prune') AS prunes, (SELECT array_agg(task || ' ' || sqlstate) FROM audit.upkeep_failures) AS failures;
SET client_min_messages = error;
\set VERBOSITY sqlstate
-- the policies
BEGIN;
CREATE OR REPLACE VIEW audit.retention_policies AS
SELECT 'default'::text AS policy, NULL::regclass AS target, '{}'::text[] AS table_names, NULL::text COLLATE "C" AS category, '1 microsecond'::interval AS keep,
       NULL::bigint AS max_events, false AS locked, false AS require_archive, now() + interval '1 second' AS cutoff, now() AS set_at,
       'x'::text COLLATE "C" AS set_by, 1::bigint AS event_id, '{}'::oid[] AS table_oids;
SELECT subject, sum(due) > 0 AS due, sum(pruned) AS pruned, method FROM audit.apply_retention(false) WHERE subject LIKE '%evidence' GROUP BY subject, method ORDER BY 1;
SELECT * FROM outcome;
SAVEPOINT before;
SELECT audit.clear('evidence', 'tidy');
ROLLBACK TO before;
SELECT * FROM outcome;
ROLLBACK;
-- the time: the policies' query takes it from the function's new body
BEGIN;
CREATE OR REPLACE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT '2200-01-01 00:00:00+00'::timestamptz $$;
SELECT count(*) AS policies, bool_and(cutoff > '2100-01-01') AS deceived FROM audit.retention_policies WHERE policy LIKE '%evidence';
SELECT subject, sum(due) > 0 AS due, sum(pruned) AS pruned, method FROM audit.apply_retention(false) WHERE subject LIKE '%evidence' GROUP BY subject, method ORDER BY 1;
SELECT * FROM outcome;
ROLLBACK;
-- the time zone, in which days and months are counted: in this one a day ago is six hours ahead. Whoever administers retention can set it.
SELECT audit.log_event('seen', category => 'watched') > 0 AS logged;
SELECT audit.set_retention('1 day', category => 'watched', locked => true), audit.seal() > 0 AS sealed;
SELECT format('A15B-15,%s/%s,%s/0', extract(doy FROM t)::integer - 1, extract(hour FROM t)::integer, (extract(doy FROM t)::integer + 180) % 365) AS zone
FROM (SELECT now() AT TIME ZONE 'UTC' - interval '18 hours') AS moment (t) \gset
BEGIN;
SET LOCAL TimeZone = :'zone';
SELECT now() - interval '1 day' - now() AS "a day ago";
SET LOCAL ROLE regress_mallory;
SELECT cutoff - now() AS cutoff FROM audit.retention_policies WHERE policy = 'category watched';
SELECT subject, sum(pruned) AS pruned FROM audit.apply_retention(false) WHERE subject = 'category watched' GROUP BY 1;
SELECT audit.set_retention('1439 minutes', category => 'watched');
ROLLBACK;
-- with the policies replaced, too
BEGIN;
SET LOCAL TimeZone = :'zone';
CREATE OR REPLACE VIEW audit.retention_policies AS
SELECT 'default'::text AS policy, NULL::regclass AS target, '{}'::text[] AS table_names, NULL::text COLLATE "C" AS category, '1 microsecond'::interval AS keep,
       NULL::bigint AS max_events, false AS locked, false AS require_archive, now() + interval '1 second' AS cutoff, now() AS set_at,
       'x'::text COLLATE "C" AS set_by, 1::bigint AS event_id, '{}'::oid[] AS table_oids;
SELECT audit.clear('watched', 'tidy');
ROLLBACK;
-- the events that are due: among them those that say what is locked
BEGIN;
CREATE OR REPLACE FUNCTION audit.next_events(part regclass, groups jsonb, after_id bigint, row_limit integer)
RETURNS TABLE (event_id bigint, place integer, held boolean, occurred_at timestamptz) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT event_id, 0, false, ''2001-01-01''::timestamptz FROM ONLY %s WHERE operation = ''system'' AND event_id > $1 ORDER BY 1 LIMIT $2', part)
    USING after_id, row_limit;
END $$;
SELECT sum(due) > 0 AS due, sum(pruned) AS pruned, method FROM audit.apply_retention(false) GROUP BY method;
SELECT * FROM outcome;
ROLLBACK;
\set VERBOSITY default
SET client_min_messages = warning;

-- a month that is no heap table is refused, not read as one
BEGIN;
CREATE TABLE audit.odd PARTITION OF audit.audit_events FOR VALUES FROM ('1990-01-01') TO ('1990-02-01') PARTITION BY RANGE (occurred_at);
SELECT count(*) FROM audit.apply_retention();
ROLLBACK;

SELECT audit.seal() > 0 AS sealed;
SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok;
RESET search_path;
DROP OWNED BY regress_mallory CASCADE;
\c regression
DROP DATABASE regress_retention_attacks;
DROP ROLE regress_mallory;
