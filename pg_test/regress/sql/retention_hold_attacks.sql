-- What a superuser does to get past a hold without touching the log's tables: nothing under it is pruned, cleared or erased.
SET client_min_messages = warning;
CREATE DATABASE regress_hold_attacks TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_hold_attacks
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE record (id int PRIMARY KEY, v text);
SELECT audit.attach('record');
INSERT INTO record VALUES (1, 'held'), (9, 'free');
UPDATE record SET id = 2 WHERE id = 1;
BEGIN;
SET LOCAL audit.request_id = 'r-1';
SELECT audit.log_event('paid', category => 'payment') > 0 AS logged;
COMMIT;
SELECT audit.set_retention('1 microsecond') AS policy;
SELECT audit.hold('row', target => 'record', row_key => '2', reason => 'court') > 0 AS held,
       audit.hold('request', request_id => 'r-1', period => '[2020-01-01,)', reason => 'court') > 0 AS held;
-- a key that the row gets under the hold
UPDATE record SET id = 3 WHERE id = 2;
UPDATE record SET v = 'still' WHERE id = 3;
SELECT audit.seal() > 0 AS sealed;
CREATE TABLE held AS
SELECT event_id FROM audit.audit_events
WHERE (table_name = 'record' AND operation IN ('insert', 'update') AND row_key <> '9') OR request_id = 'r-1';
SELECT count(*) AS held FROM held;

-- Does it, prunes, clears, erases, tells what became of that, and takes all of it back.
CREATE FUNCTION attempt(trick text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE trick;
    SELECT 'prune ' || coalesce(string_agg(DISTINCT method, ' '), 'finds nothing') INTO result FROM audit.apply_retention(false);
    BEGIN
        PERFORM audit.clear('payment', 'tidy');
        result := result || ', cleared';
    EXCEPTION WHEN OTHERS THEN
        result := result || ', clear ' || SQLSTATE;
    END;
    BEGIN
        PERFORM audit.erase('public.record'::regclass, '3', 'tidy');
        result := result || ', erased';
    EXCEPTION WHEN OTHERS THEN
        result := result || ', erase ' || SQLSTATE;
    END;
    SELECT format('%s of %s left; ', count(e.event_id), count(*)) || result INTO result
    FROM public.held h LEFT JOIN audit.audit_events e ON e.event_id = h.event_id AND e.salt IS NOT NULL;
    RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN result;
END
$$;
SELECT attempt('SELECT') AS "no attack";

-- views and functions that say what is held, replaced
CREATE FUNCTION emptied(view regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT * FROM (%s) v WHERE false', view, rtrim(pg_get_viewdef(view), ';'));
END
$$;
SET client_min_messages = error;
SELECT attempt($$SELECT emptied('audit.holds')$$) AS holds;
SELECT attempt($$SELECT emptied('audit.holds_in_force')$$) AS holds_in_force;
SELECT attempt($$CREATE OR REPLACE FUNCTION audit.hold_covers() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''false''::text'$$) AS hold_covers;
SELECT attempt($$CREATE OR REPLACE FUNCTION audit.row_keys(target regclass, row_key text) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT ''17''::text'$$) AS row_keys;
SELECT attempt($$CREATE OR REPLACE FUNCTION audit.table_now(installation text, table_oid oid, schema_name text, table_name text) RETURNS oid
                 LANGUAGE sql STABLE AS 'SELECT 17::oid'$$) AS table_now;
SELECT attempt($x$
    CREATE OR REPLACE FUNCTION audit.next_events(part regclass, groups jsonb, after_id bigint, row_limit integer)
    RETURNS TABLE (event_id bigint, place integer, held boolean, occurred_at timestamptz) LANGUAGE plpgsql STABLE AS $f$
    BEGIN
        RETURN QUERY EXECUTE format('SELECT e.event_id, g.place, false, e.occurred_at FROM ONLY %s e JOIN audit.listed_groups($1) g ON %s WHERE event_id > $2 ORDER BY 1 LIMIT $3',
                                    part, audit.group_has()) USING groups, after_id, row_limit;
    END $f$ $x$) AS next_events;

-- functions that find other operators than PostgreSQL's
CREATE SCHEMA evil;
CREATE FUNCTION evil.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION evil.never(oid, oid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION evil.never(timestamptz, tstzrange) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR evil.= (FUNCTION = evil.never, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.never, LEFTARG = oid, RIGHTARG = oid);
CREATE OPERATOR evil.<@ (FUNCTION = evil.never, LEFTARG = timestamptz, RIGHTARG = tstzrange);
SELECT function, attempt(format('ALTER FUNCTION %s SET search_path = evil, pg_catalog', function))
FROM unnest('{audit.next_events,audit.row_keys,audit.table_now}'::regproc[]) AS f (oid), CAST(oid::regprocedure AS text) function;
-- settings of the session, of the role, of the database
SELECT setting, attempt(format('SET LOCAL %s', setting))
FROM unnest(ARRAY['search_path = evil, pg_catalog', 'search_path = pg_temp', 'quote_all_identifiers = on', 'array_nulls = off', 'TimeZone = "Pacific/Kiritimati"',
    'DateStyle = "SQL, DMY"', 'IntervalStyle = sql_standard', 'row_security = off', 'session_replication_role = replica', 'transform_null_equals = on',
    'standard_conforming_strings = off', 'plpgsql.variable_conflict = use_variable', 'plan_cache_mode = force_generic_plan', 'audit.restore = on']) AS settings (setting);
SELECT attempt('ALTER ROLE ' || quote_ident(current_user) || ' SET search_path = evil, pg_catalog; ALTER DATABASE regress_hold_attacks SET search_path = evil, pg_catalog') AS "for later";
-- rights and names
SELECT attempt('ALTER TABLE audit.audit_events ENABLE ROW LEVEL SECURITY; ALTER TABLE audit.audit_events FORCE ROW LEVEL SECURITY') AS "row level security";
SELECT attempt('ALTER VIEW audit.holds RENAME TO no_holds; CREATE VIEW audit.holds AS SELECT * FROM audit.no_holds WHERE false') AS "another view of its name";
SELECT attempt('ALTER TABLE record RENAME TO other; CREATE TABLE record (id int PRIMARY KEY)') AS "another table of its name";
SELECT attempt('ALTER EXTENSION pg_attest DROP VIEW audit.holds_in_force') AS "a view of nobody";

SET client_min_messages = warning;
SELECT attempt('SELECT') AS "no attack";
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, event_id, detail FROM audit.verify() WHERE NOT ok;
\c regression
DROP DATABASE regress_hold_attacks;
