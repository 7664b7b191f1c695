-- Which events a policy keeps, for every kind of policy: what it applies to, what limits it, locked or not, with and without a hold, alone
-- or over a default policy. What plain SQL expects is compared with what is told before and what is left after.
SET client_min_messages = warning;
CREATE DATABASE regress_matrix TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_matrix
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('orders'), audit.attach('notes');
SELECT setval('audit.audit_events_event_id_seq', 20000);
-- Of each kind an event every other day of four months, one at a moment that policies reach back to, and one a microsecond before and after it.
CREATE VIEW moment AS SELECT '2015-12-31 23:59:59.5Z'::timestamptz AS at;
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, session_user_name, effective_role, category, action)
SELECT 10000 + row_number() OVER (ORDER BY at, kind), at, at, '3', 0, 1, CASE WHEN is_table THEN kind::regclass END,
       CASE WHEN is_table THEN 'insert' ELSE 'event' END::audit.operation, gen_random_uuid(), CASE WHEN is_table THEN 'public' END,
       CASE WHEN is_table THEN kind END, CASE WHEN is_table THEN extract(epoch FROM at)::text END, 'old', 'old',
       CASE WHEN NOT is_table THEN kind END, CASE WHEN NOT is_table THEN 'did' END
FROM (VALUES ('orders', true), ('notes', true), ('login', false), ('report', false)) kinds (kind, is_table),
     (SELECT generate_series('2015-11-02'::timestamptz, '2016-02-20', '2 days') UNION ALL
      SELECT at + n * interval '1 microsecond' FROM moment, generate_series(-1, 1) n) times (at);
RESET audit.restore;
SELECT sum(done) > 0 AS drained FROM audit.maintain();
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
SELECT audit.seal() > 0 AS sealed;

CREATE TABLE known AS
SELECT event_id, occurred_at, coalesce(table_name, category) AS kind, occurred_at <@ tstzrange('2015-11-20', '2015-11-27') AS held
FROM audit.audit_events WHERE operation <> 'system';
SELECT kind, count(*), count(*) FILTER (WHERE held) AS held FROM known GROUP BY 1 ORDER BY 1;

-- Each case in a subtransaction that is rolled back, for a locked policy cannot be dropped.
CREATE FUNCTION outcome(applies_to text, age boolean, most bigint, locked boolean, on_hold boolean, base boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    keep CONSTANT interval := now() - (SELECT at FROM moment);
    base_keep CONSTANT interval := now() - '2015-11-24'::timestamptz;
    own CONSTANT text[] := CASE applies_to WHEN 'table' THEN '{orders}' WHEN 'category' THEN '{login}' WHEN 'default' THEN '{orders,notes,login,report}' ELSE '{}' END;
    result text;
BEGIN
    IF base THEN
        PERFORM audit.set_retention(base_keep);
    END IF;
    IF applies_to <> 'none' THEN
        PERFORM audit.set_retention(CASE WHEN age THEN keep END, CASE applies_to WHEN 'table' THEN 'orders'::regclass END,
                                    CASE applies_to WHEN 'category' THEN 'login' END, most, locked);
    END IF;
    IF on_hold THEN
        PERFORM audit.hold('case', period => tstzrange('2015-11-20', '2015-11-27'), reason => 'court');
    END IF;
    CREATE TEMPORARY TABLE expected AS
    SELECT k.event_id, coalesce(CASE WHEN k.kind = ANY (own) THEN (age AND k.occurred_at < now() - keep) OR k.newer >= most
                                     WHEN base THEN k.occurred_at < now() - base_keep END, false) AS due, on_hold AND k.held AS stays
    FROM (SELECT *, count(*) OVER (PARTITION BY kind = ANY (own) ORDER BY occurred_at DESC, event_id DESC) - 1 AS newer FROM known) k;
    SELECT format('%s due, %s held', sum(r.due), sum(r.held)) INTO result FROM audit.apply_retention() r;
    IF result IS DISTINCT FROM (SELECT format('%s due, %s held', nullif(count(*) FILTER (WHERE due), 0), CASE WHEN bool_or(due) THEN count(*) FILTER (WHERE due AND stays) END) FROM expected) THEN
        RAISE EXCEPTION 'told %, expected %', result, (SELECT format('%s due, %s held', count(*) FILTER (WHERE due), count(*) FILTER (WHERE due AND stays)) FROM expected);
    END IF;
    PERFORM audit.apply_retention(false);
    IF EXISTS ((SELECT event_id FROM audit.audit_events WHERE operation <> 'system' EXCEPT SELECT event_id FROM expected WHERE NOT due OR stays)
               UNION ALL (SELECT event_id FROM expected WHERE NOT due OR stays EXCEPT SELECT event_id FROM audit.audit_events)) THEN
        RAISE EXCEPTION 'something else is left';
    END IF;
    SELECT format('%s of %s go', count(*) FILTER (WHERE due AND NOT stays), count(*)) INTO result FROM expected;
    RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
    RETURN result;
END
$$;
SELECT applies_to, age, most, base, held, array_agg(DISTINCT outcome(applies_to, age, most, locked, held, base)) AS "locked or not"
FROM unnest('{table,category,default,none}'::text[]) WITH ORDINALITY AS kinds (applies_to, place),
     (VALUES (true, NULL::bigint), (false, 20), (true, 20), (true, 40)) AS limits (age, most),
     unnest('{false,true}'::boolean[]) AS locked, unnest('{false,true}'::boolean[]) AS held, unnest('{false,true}'::boolean[]) AS base
WHERE (applies_to <> 'default' OR NOT base) AND (applies_to <> 'none' OR (age AND most IS NULL))
GROUP BY place, applies_to, age, most, base, held ORDER BY place, age, most NULLS FIRST, base, held;
SELECT count(*) = (SELECT count(*) FROM known) AS "all there" FROM audit.audit_events WHERE operation <> 'system';
SELECT count(*) AS policies FROM audit.retention_policies;

\c regression
DROP DATABASE regress_matrix;
