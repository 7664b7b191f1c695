-- Pages and counts by summaries: every filter against the plain query that says the same, whatever of the log is summarised, while
-- events come, are restored, pruned, cleared and erased. In a database of its own: events of other months are restored into it.
SET client_min_messages = warning;
CREATE DATABASE regress_summaries TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_summaries
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
SELECT setval('audit.audit_events_event_id_seq', 64000001) > 0 AS ids_left_free;
CREATE TABLE busy (id int PRIMARY KEY, v int, w text);
CREATE TABLE rare (id int PRIMARY KEY, v int, x int);
SELECT audit.attach('busy'), audit.attach('rare');
CREATE ROLE regress_summaries_dba SUPERUSER;

-- Users, tenants and categories come and go: dense in some ranges, alone in others, nowhere in most.
CREATE PROCEDURE fill(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN first..last LOOP
        PERFORM set_config('audit.app_user_id', CASE WHEN i % 5 > 0 THEN 'u' || i / 20 % 4 ELSE '' END, true),
                set_config('audit.tenant_id', CASE WHEN i % 7 > 1 THEN 't' || i / 30 % 3 ELSE '' END, true),
                set_config('audit.session_id', CASE WHEN i % 4 > 0 THEN 's' || i / 2 % 20 ELSE 'long' END, true),
                set_config('audit.request_id', CASE WHEN i IN (10, 90) OR i > 135 THEN 'grown' WHEN i % 8 = 0 THEN 'sparse' WHEN i / 30 % 3 = 1 THEN 'dense' WHEN i % 9 > 0 THEN 'r' || i ELSE '' END, true),
                set_config('audit.process_id', CASE WHEN i % 11 = 0 OR i > 75 THEN 'late' WHEN i % 13 = 0 OR i < 35 THEN 'early' ELSE 'p' || i / 2 END, true);
        INSERT INTO busy SELECT i * 1000 + n, 0, 'w' FROM generate_series(1, 60 + i % 50) n;
        UPDATE busy SET v = 1 WHERE id BETWEEN i * 1000 AND i * 1000 + i % 40;
        IF i % 10 = 0 THEN DELETE FROM busy WHERE id = i * 1000 + 1; END IF;
        IF i % 25 = 0 THEN
            INSERT INTO rare VALUES (i, i, 0);
            UPDATE rare SET x = 1 WHERE id = i;
        END IF;
        PERFORM set_config('audit.process_id', 'thin', true);
        PERFORM audit.log_event('act' || (i + n) % 6, 'described ' || i || (ARRAY['', ' 100%', ' a_b', ' \back', ' ÜBERALL'])[1 + i / 20 % 5], 'type' || i % 3, 'id' || n, 'Name ' || i % 9, 'cat' || (i / 40 + n) % 5,
                                (ARRAY['debug', 'info', 'warning', 'critical'])[1 + i % 4])
        FROM generate_series(1, i % 6) n;
        COMMIT;
    END LOOP;
END
$$;
CALL fill(1, 60);
SET SESSION AUTHORIZATION regress_summaries_dba;
UPDATE public.rare SET v = -1 WHERE id < 60;
RESET SESSION AUTHORIZATION;
SELECT audit.log_event('alarm', 'the needle', 'needle', 'n', 'N', 'alarm', 'critical') > 0 AS logged;
CALL fill(61, 120);

-- A restored log: events of a month that is long over.
CREATE PROCEDURE restore(nth int, ago interval) LANGUAGE sql AS $$
    INSERT INTO audit.audit_events
    SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', e.event_id - nth * 20000000, 'occurred_at', e.occurred_at - ago, 'salt', gen_random_uuid()))).*
    FROM audit.audit_events e WHERE e.operation IN ('insert', 'event') AND e.event_id > 64000000 AND e.event_id % 2 = nth % 2
$$;
SET audit.restore = on;
CALL restore(1, '14 months');
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
\set SHOW_CONTEXT never
SELECT task, done > 0 AS done FROM audit.maintain() WHERE task LIKE '%default%' OR task LIKE '%summarised';

CREATE TABLE filters (arguments text, condition text);
INSERT INTO filters VALUES
    ('', 'true'),
    ('category => ''{cat1}''', 'category = ''cat1'''),
    ('category => ''{alarm,cat2,cat3,nosuch}''', 'category IN (''alarm'', ''cat2'', ''cat3'')'),
    ('category => ''{alarm}''', 'category = ''alarm'''),
    ('category => ''{}''', 'false'),
    ('severity => ''{critical,debug}'', category => ''{cat0,cat3}''', 'severity IN (''critical'', ''debug'') AND category IN (''cat0'', ''cat3'')'),
    ('action => ''{act2,act4}''', 'action IN (''act2'', ''act4'')'),
    ('app_user_id => ''u3''', 'app_user_id = ''u3'''),
    ('app_user_id => ''u3'', tenant_id => ''t1''', 'app_user_id = ''u3'' AND tenant_id = ''t1'''),
    ('app_user_id => ''nobody''', 'false'),
    ('session_user_name => ''regress_summaries_dba''', 'session_user_name = ''regress_summaries_dba'''),
    ('session_user_name => session_user', 'session_user_name = session_user'),
    ('entity_type => ''type1''', 'entity_type = ''type1'''),
    ('entity_id => ''id2'', severity => ''{info}''', 'entity_id = ''id2'' AND severity = ''info'''),
    ('target => ''busy''', 'table_oid = ''busy''::regclass'),
    ('target => ''rare''', 'table_oid = ''rare''::regclass'),
    ('target => ''rare'', changed_column => ''x''', 'table_oid = ''rare''::regclass AND ''x'' = ANY (changed_columns)'),
    ('changed_column => ''v''', '''v'' = ANY (changed_columns)'),
    ('tenant_id => ''t2''', 'tenant_id = ''t2'''),
    ('session_id => ''s7''', 'session_id = ''s7'''),
    ('session_id => ''long'', tenant_id => ''t1''', 'session_id = ''long'' AND tenant_id = ''t1'''),
    -- of large groups and others: in all ranges, in some, from a time on, up to a time, in ranges from before it was large
    ('request_id => ''sparse''', 'request_id = ''sparse'''),
    ('request_id => ''dense''', 'request_id = ''dense'''),
    ('request_id => ''grown''', 'request_id = ''grown'''),
    ('request_id => ''r100''', 'request_id = ''r100'''),
    ('request_id => ''nosuch''', 'false'),
    ('process_id => ''late''', 'process_id = ''late'''),
    ('process_id => ''early''', 'process_id = ''early'''),
    ('process_id => ''thin''', 'process_id = ''thin'''),
    ('process_id => ''p30''', 'process_id = ''p30'''),
    ('request_id => ''dense'', process_id => ''early''', 'request_id = ''dense'' AND process_id = ''early'''),
    ('request_id => ''r100'', process_id => ''late''', 'request_id = ''r100'' AND process_id = ''late'''),
    ('request_id => ''sparse'', app_user_id => ''u2''', 'request_id = ''sparse'' AND app_user_id = ''u2'''),
    ('process_id => ''late'', operation => ''{delete,event}''', 'process_id = ''late'' AND operation IN (''delete'', ''event'')'),
    ('request_id => ''sparse'', entity_id => ''id2''', 'request_id = ''sparse'' AND entity_id = ''id2'''),
    ('request_id => ''dense'', search => ''scribed 4''', 'request_id = ''dense'' AND description ILIKE ''%scribed 4%'''),
    ('request_id => ''dense'', since => (SELECT at FROM times WHERE n = 40), until => (SELECT at FROM times WHERE n = 80)',
     'request_id = ''dense'' AND occurred_at >= (SELECT at FROM times WHERE n = 40) AND occurred_at < (SELECT at FROM times WHERE n = 80)'),
    ('operation => ''{delete}''', 'operation = ''delete'''),
    ('operation => ''{ddl,system}''', 'operation IN (''ddl'', ''system'')'),
    ('operation => ''{update,delete}'', app_user_id => ''u1''', 'operation IN (''update'', ''delete'') AND app_user_id = ''u1'''),
    ('search => ''NEEDLE''', 'description = ''the needle'''),
    ('search => ''described 11''', 'description ILIKE ''%described 11%'''),
    ('search => ''100%''', 'description ILIKE ''%100\%%'''),
    ('search => ''a_b''', 'description ILIKE ''%a\_b%'''),
    ('search => ''\back''', 'description ILIKE ''%\\back%'''),
    ('search => ''überALL''', 'description ILIKE ''%überALL%'''),
    ('search => ''_b'', operation => ''{event}''', 'description ILIKE ''%\_b%'''),
    ('search => ''CT4''', 'action COLLATE "default" ILIKE ''%ct4%'''),
    ('search => ''nowhere at all''', 'description ILIKE ''%nowhere at all%'''),
    ('search => ''name 4'', category => ''{cat1,cat2}''', 'entity_name LIKE ''Name 4%'' AND category IN (''cat1'', ''cat2'')'),
    ('since => (SELECT at FROM times WHERE n = 30)', 'occurred_at >= (SELECT at FROM times WHERE n = 30)'),
    ('until => (SELECT at FROM times WHERE n = 80)', 'occurred_at < (SELECT at FROM times WHERE n = 80)'),
    ('since => (SELECT at FROM times WHERE n = 30), until => (SELECT at FROM times WHERE n = 80)',
     'occurred_at >= (SELECT at FROM times WHERE n = 30) AND occurred_at < (SELECT at FROM times WHERE n = 80)'),
    ('operation => ''{insert}'', since => (SELECT at FROM times WHERE n = 40), until => (SELECT at FROM times WHERE n = 41)',
     'operation = ''insert'' AND occurred_at >= (SELECT at FROM times WHERE n = 40) AND occurred_at < (SELECT at FROM times WHERE n = 41)');
CREATE TABLE times AS SELECT at, row_number() OVER (ORDER BY at) AS n FROM (SELECT DISTINCT occurred_at AS at FROM audit.audit_events) AS known;

-- A filter's pages at random places and of random sizes, with three and more of them its count, and what reads by summaries without being a page.
CREATE FUNCTION wrong(places int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    f record;
    before bigint;
    size int;
    page bigint[];
    plain bigint[];
    counted bigint;
    lowest bigint := (SELECT min(event_id) FROM audit.audit_events);
    highest bigint := (SELECT max(event_id) FROM audit.audit_events);
    since timestamptz;
    until timestamptz;
BEGIN
    FOR f IN SELECT * FROM filters LOOP
        FOR place IN 1..places LOOP
            before := CASE WHEN place > 1 THEN lowest + ((highest - lowest + 2) * random())::bigint END;
            size := CASE WHEN place % 2 = 1 THEN 50 ELSE 1 + (999 * random())::int END;
            EXECUTE format('SELECT array_agg(event_id) FROM audit.events(%s before_id => %L, page_size => %s)',
                           f.arguments || CASE WHEN f.arguments <> '' THEN ',' ELSE '' END, before, size) INTO page;
            EXECUTE format('SELECT array_agg(event_id) FROM (SELECT event_id FROM audit.audit_events WHERE (%s) AND event_id < %L ORDER BY event_id DESC LIMIT %s) AS plain',
                           f.condition, coalesce(before, 9223372036854775807), size) INTO plain;
            IF page IS DISTINCT FROM plain THEN
                RETURN NEXT format('%s before %s, %s: %s events instead of %s', f.arguments, before, size, cardinality(page), cardinality(plain));
            END IF;
        END LOOP;
        CONTINUE WHEN places < 3;
        EXECUTE format('SELECT count(*) FROM audit.audit_events WHERE %s', f.condition) INTO counted;
        EXECUTE format('SELECT ''count of %s'' WHERE audit.count_events(%s) <> %s', replace(f.arguments, '''', ''''''), f.arguments, counted) INTO f;
        IF f IS NOT NULL THEN RETURN NEXT f; END IF;
    END LOOP;
    FOR place IN 1..places LOOP
        since := CASE WHEN place % 3 > 0 THEN (SELECT at FROM times ORDER BY random() LIMIT 1) ELSE '-infinity' END;
        until := CASE WHEN place % 4 > 0 THEN greatest(since, (SELECT min(at) FROM times)) + (SELECT max(at) - min(at) FROM times) * (0.01 + random()) ELSE 'infinity' END;
        IF (SELECT array_agg(e.event_id ORDER BY e.event_id) FROM audit.events_between(since, until) e)
           IS DISTINCT FROM (SELECT array_agg(e.event_id ORDER BY e.event_id) FROM audit.audit_events e WHERE e.occurred_at >= since AND e.occurred_at < until) THEN
            RETURN NEXT format('events between %s and %s', since, until);
        END IF;
        IF (SELECT array_agg(e.event_id) FROM audit.report_ddl(since, until) e)
           IS DISTINCT FROM (SELECT array_agg(e.event_id ORDER BY e.event_id) FROM audit.audit_events e
                             WHERE e.operation IN ('ddl', 'system') AND e.occurred_at >= since AND e.occurred_at < until) THEN
            RETURN NEXT format('DDL between %s and %s', since, until);
        END IF;
    END LOOP;
    -- A group that any range has a row for has one for each with events of it; a stale range may say too much.
    RETURN QUERY
        WITH groups AS (SELECT DISTINCT filter, value FROM audit.range_values WHERE filter IN ('request_id', 'process_id')),
        truth AS (
            SELECT r.last_id, g.filter, g.value, array_agg(e.event_id ORDER BY e.event_id) AS ids
            FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id BETWEEN r.first_id AND r.last_id
            JOIN groups g ON g.value = CASE g.filter WHEN 'request_id' THEN e.request_id ELSE e.process_id END WHERE NOT r.is_stale GROUP BY 1, 2, 3)
        SELECT format('%s %s in range %s', filter, value, last_id)
        FROM truth t
        FULL JOIN (SELECT v.* FROM audit.range_values v JOIN audit.event_ranges r USING (last_id)
                   WHERE v.filter IN ('request_id', 'process_id') AND NOT r.is_stale) v USING (last_id, filter, value)
        WHERE v.events IS DISTINCT FROM cardinality(t.ids) OR v.ids IS DISTINCT FROM CASE WHEN cardinality(t.ids) <= 32 THEN t.ids END;
    IF audit.count_events() <> (SELECT count(*) FROM audit.audit_events) THEN
        RETURN NEXT 'count of all';
    END IF;
    PERFORM set_config('audit.app_user_id', 'u' || (3 * random())::int, true);
    IF (SELECT array_agg(m.event_id ORDER BY m.event_id) FROM audit.my_activity m)
       IS DISTINCT FROM (SELECT array_agg(e.event_id ORDER BY e.event_id) FROM audit.audit_events e WHERE e.app_user_id = current_setting('audit.app_user_id')) THEN
        RETURN NEXT format('activity of %s', current_setting('audit.app_user_id'));
    END IF;
    RETURN;
END
$$;
CREATE VIEW ranges AS
SELECT count(*) AS ranges, bool_and(events = 2048) AS of_one_size, bool_or(is_stale) AS stale FROM audit.event_ranges;
-- All that is sealed. What no transaction can add to any more is due; that those of other databases end is waited for.
CREATE PROCEDURE summarize() LANGUAGE plpgsql AS $$
DECLARE
    ends timestamptz := clock_timestamp() + interval '1 minute';
BEGIN
    LOOP
        PERFORM audit.summarize_events();
        COMMIT;
        EXIT WHEN (SELECT count(*) < 2048 FROM audit.audit_events WHERE event_id > (SELECT max(last_id) FROM audit.event_ranges))
              AND NOT EXISTS (SELECT FROM audit.event_ranges WHERE is_stale);
        IF clock_timestamp() > ends THEN
            RAISE EXCEPTION 'not everything is summarised within a minute';
        END IF;
    END LOOP;
END
$$;

-- nothing is sealed, nothing can be summarised
SELECT audit.summarize_events();
SELECT * FROM wrong(2);
-- sealed, but not summarised; then part of it; then all
SELECT audit.seal() > 10000 AS sealed;
SELECT * FROM wrong(2);
SELECT audit.summarize_events(2);
SELECT * FROM ranges;
SELECT * FROM wrong(3);
CALL summarize();
SELECT * FROM ranges;
SELECT audit.summarize_events();
SELECT * FROM wrong(5);
-- a summary says what its range has
SELECT count(*) FROM (
    SELECT r.last_id, 'operation'::audit.summarized, e.operation::text, count(*), CASE WHEN count(*) <= 32 THEN array_agg(e.event_id ORDER BY e.event_id) END
    FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id BETWEEN r.first_id AND r.last_id GROUP BY 1, 3
    UNION ALL
    SELECT r.last_id, 'changed_column', c, count(*), CASE WHEN count(*) <= 32 THEN array_agg(e.event_id ORDER BY e.event_id) END
    FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id BETWEEN r.first_id AND r.last_id, unnest(e.changed_columns) c GROUP BY 1, 3
    EXCEPT SELECT last_id, filter, value, events, ids FROM audit.range_values) AS missing;
SELECT filter, count(DISTINCT value) AS values FROM audit.range_values WHERE filter NOT IN ('request_id', 'process_id') GROUP BY 1 ORDER BY 1;
-- of requests and processes the large ones alone
SELECT DISTINCT filter, value FROM audit.range_values WHERE filter IN ('request_id', 'process_id') ORDER BY 1, 2;
SELECT count(DISTINCT request_id) > 50 AS requests, count(DISTINCT process_id) > 15 AS processes FROM audit.audit_events;

-- more events, on top of the ranges
CALL fill(121, 150);
SELECT audit.seal() > 1000 AS sealed;
SELECT * FROM wrong(3);
CALL summarize();
SELECT count(*) > 2 AS earlier_ranges_too FROM audit.range_values WHERE filter = 'request_id' AND value = 'grown';
SELECT * FROM wrong(3);

-- removed: a category, a row's values, old months
SELECT audit.clear('cat1', 'of no use any more') > 0 AS cleared;
SELECT ranges, stale FROM ranges;
SELECT * FROM wrong(2);
SELECT audit.erase('rare', '100', 'asked for') AS erased;
CALL summarize();
SELECT ranges, of_one_size, stale FROM ranges;
SELECT count(*) AS traces FROM audit.range_values WHERE filter = 'category' AND value = 'cat1';
SELECT * FROM wrong(3);

-- restored: what was summarised counts no more
SET audit.restore = on;
CALL restore(2, '5 months');
RESET audit.restore;
SELECT * FROM ranges;
SELECT audit.summarize_events();
SELECT * FROM wrong(2);
\i :reconnect
SELECT task, done > 0 AS done FROM audit.maintain() WHERE task LIKE '%default%';
CALL summarize();
SELECT ranges = (SELECT count(*) FROM audit.audit_events) / 2048 AS all_of_them, of_one_size, stale FROM ranges;
SELECT * FROM wrong(4);
-- pruned: the months are gone, and their ranges with them
SELECT audit.set_retention('12 months') IS NOT NULL AS set;
CALL audit.prune();
SELECT bool_or(is_stale) AS stale, count(*) > 0 AS ranges FROM audit.event_ranges;
SELECT * FROM wrong(2);
SELECT task, done > 0 AS done FROM audit.maintain() WHERE task = 'events summarised';
SELECT count(*) AS stale_or_empty FROM audit.event_ranges r WHERE r.is_stale
   OR r.events <> (SELECT count(*) FROM audit.audit_events e WHERE e.event_id BETWEEN r.first_id AND r.last_id) OR r.events = 0;
SELECT count(*) AS left_behind FROM audit.range_values v WHERE NOT EXISTS (SELECT FROM audit.event_ranges r WHERE r.last_id = v.last_id);
SELECT * FROM wrong(3);

-- a month that is away while its ranges are made anew, and comes back
SELECT format('audit.%I', name) AS month FROM audit.log_partitions p, LATERAL (SELECT count(*) AS events FROM audit.audit_events WHERE tableoid = p.partition) AS has
WHERE NOT is_default AND events > 0 ORDER BY starts LIMIT 1 \gset
ALTER TABLE audit.audit_events DETACH PARTITION :month;
SELECT count(*) AS ranges FROM audit.event_ranges;
CALL summarize();
SELECT * FROM wrong(2);
SELECT to_date(right(:'month', 7), 'YYYY_MM') AS "from", (to_date(right(:'month', 7), 'YYYY_MM') + interval '1 month')::date AS "to" \gset
ALTER TABLE audit.audit_events ATTACH PARTITION :month FOR VALUES FROM (:'from') TO (:'to');
SELECT count(*) AS ranges FROM audit.event_ranges;
SELECT * FROM wrong(2);
CALL summarize();
SELECT * FROM wrong(2);

-- forged events that have the ids of others, at the ends of ranges: both are read
CREATE TEMPORARY TABLE ends AS SELECT first_id AS id FROM audit.event_ranges UNION SELECT last_id FROM audit.event_ranges;
SET audit.restore = on;
INSERT INTO audit.audit_events
SELECT (jsonb_populate_record(e, jsonb_build_object('occurred_at', e.occurred_at - interval '30 years'))).*
FROM audit.audit_events e WHERE event_id IN (SELECT id FROM ends);
\i :reconnect
\set SHOW_CONTEXT never
CALL summarize();
SELECT max(have.events - r.events) AS not_counted
FROM audit.event_ranges r, LATERAL (SELECT count(*) AS events FROM audit.audit_events e WHERE e.event_id BETWEEN r.first_id AND r.last_id) AS have;
SELECT count(*) > 0 AS ranges FROM audit.event_ranges;

-- nobody writes them
DELETE FROM audit.event_ranges;
UPDATE audit.range_values SET ids = '{}';
TRUNCATE audit.range_values;
CREATE ROLE regress_summaries_reader;
SELECT audit.grant_access('regress_summaries_reader', 'reader');
SET ROLE regress_summaries_reader;
SELECT count(*) FROM audit.events(operation => '{insert}');
SELECT count(*) > 0 AS read FROM audit.event_ranges;
SELECT audit.summarize_events();
RESET ROLE;
DROP OWNED BY regress_summaries_reader;
\c regression
DROP DATABASE regress_summaries;
DROP ROLE regress_summaries_reader, regress_summaries_dba;
