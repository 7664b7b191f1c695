-- Pages of events: every filter against the plain query that says the same; stable under equal times; what is refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_events_pages;
SET search_path = regress_events_pages;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never

CREATE TABLE a (id int PRIMARY KEY, v int, w text);
CREATE TABLE b (id int PRIMARY KEY, v int);
SELECT audit.attach('a'), audit.attach('b');
CREATE ROLE regress_events_pages_dba SUPERUSER;
-- Thousands of events with one time: a transaction each for half of them.
BEGIN;
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        PERFORM audit.set_context('pages-r' || i % 40, 'pages-p' || i % 20, CASE WHEN i % 3 > 0 THEN 'pages-u' || i % 7 END,
                                  session_id => 'pages-s' || i % 30, tenant_id => 'pages-t' || i % 4);
        PERFORM set_config('audit.app_user_id', CASE WHEN i % 3 > 0 THEN 'pages-u' || i % 7 ELSE '' END, true);
        INSERT INTO a VALUES (i, 0, 'w');
        UPDATE a SET v = v + 1 WHERE id = i - 1;
        IF i % 10 = 0 THEN DELETE FROM a WHERE id = i - 5; END IF;
        PERFORM audit.log_event('pages-act' || i % 5, 'described ' || i || CASE i % 3 WHEN 0 THEN ' 100%' WHEN 1 THEN ' a_b' ELSE ' \back' END,
                                'pages-type' || i % 3, 'pages-id' || i % 11, 'Name Ü' || i % 9, 'pages-cat' || i % 4,
                                (ARRAY['debug', 'info', 'warning', 'critical'])[1 + i % 4]);
    END LOOP;
END
$$;
COMMIT;
DO $$
BEGIN
    FOR i IN 1..50 LOOP
        INSERT INTO b VALUES (i, i);
        UPDATE b SET v = 0 WHERE id = i;
        COMMIT;
    END LOOP;
END
$$;
SET SESSION AUTHORIZATION regress_events_pages_dba;
UPDATE regress_events_pages.b SET v = 7 WHERE id < 5;
RESET SESSION AUTHORIZATION;
ALTER TABLE b ADD COLUMN x int;
ANALYZE audit.audit_events;
SELECT count(*), count(DISTINCT occurred_at) > 50 AS many_times, max(count) >= 900 AS at_one_time
FROM (SELECT occurred_at, count(*) OVER (PARTITION BY occurred_at) FROM audit.audit_events
      WHERE schema_name = 'regress_events_pages' OR category LIKE 'pages-cat%') AS e;

-- All pages of a filter, one after the other, as one list of ids; and the same from a plain query.
CREATE FUNCTION pages(arguments text, page_size int) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    page bigint[];
BEGIN
    LOOP
        EXECUTE format('SELECT array_agg(e.event_id ORDER BY n) FROM audit.events(%s before_id => %L, page_size => %s) WITH ORDINALITY AS e
                        (%s, n)', arguments || ', ', ids[cardinality(ids)], page_size,
                       (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                        WHERE attrelid = 'audit.audit_events'::regclass AND attnum > 0)) INTO page;
        EXIT WHEN page IS NULL;
        ids := ids || page;
    END LOOP;
    RETURN ids;
END
$$;
CREATE TABLE filters (arguments text, condition text);
INSERT INTO filters VALUES
    ('category => ''{pages-cat1}''', 'category = ''pages-cat1'''),
    ('category => ''{pages-cat1,pages-cat3,pages-cat3,nosuch,NULL}''', 'category IN (''pages-cat1'', ''pages-cat3'')'),
    ('severity => ''{critical,debug}'', category => ''{pages-cat0,pages-cat3}''', 'severity IN (''critical'', ''debug'') AND category IN (''pages-cat0'', ''pages-cat3'')'),
    ('severity => ''{critical}''', 'severity = ''critical'''),
    ('action => ''{pages-act2,pages-act4}''', 'action IN (''pages-act2'', ''pages-act4'')'),
    ('action => ''{ALTER TABLE}'', target => ''b''', 'action = ''ALTER TABLE'' AND table_oid = ''b''::regclass'),
    ('app_user_id => ''pages-u3''', 'app_user_id = ''pages-u3'''),
    ('session_user_name => ''regress_events_pages_dba''', 'session_user_name = ''regress_events_pages_dba'''),
    ('entity_type => ''pages-type1''', 'entity_type = ''pages-type1'''),
    ('entity_id => ''pages-id7''', 'entity_id = ''pages-id7'''),
    ('entity_type => ''pages-type1'', entity_id => ''pages-id7''', 'entity_type = ''pages-type1'' AND entity_id = ''pages-id7'''),
    ('target => ''a''', 'table_oid = ''a''::regclass'),
    ('target => ''a'', row_key => ''17''', 'table_oid = ''a''::regclass AND row_key = ''17'''),
    ('target => ''a'', operation => ''{update,delete}''', 'table_oid = ''a''::regclass AND operation IN (''update'', ''delete'')'),
    ('request_id => ''pages-r7''', 'request_id = ''pages-r7'''),
    ('process_id => ''pages-p7''', 'process_id = ''pages-p7'''),
    ('tenant_id => ''pages-t2''', 'tenant_id = ''pages-t2'''),
    ('session_id => ''pages-s2''', 'session_id = ''pages-s2'''),
    ('operation => ''{ddl,system}''', 'operation IN (''ddl'', ''system'')'),
    ('operation => ''{event}''', 'operation = ''event'''),
    ('operation => ''{delete}''', 'operation = ''delete'''),
    ('operation => ''{update,event,truncate}'', tenant_id => ''pages-t1''', 'operation IN (''update'', ''event'', ''truncate'') AND tenant_id = ''pages-t1'''),
    ('changed_column => ''v'', target => ''b''', '''v'' = ANY (changed_columns) AND table_oid = ''b''::regclass'),
    ('changed_column => ''x''', '''x'' = ANY (changed_columns)'),
    ('search => ''DESCRIBED 1''', 'description ILIKE ''%described 1%'''),
    ('search => ''100%''', 'description LIKE ''described % 100\%'''),
    ('search => ''a_b''', 'description LIKE ''% a\_b'''),
    ('search => ''\back''', 'description LIKE ''%\\back'''),
    ('search => ''name Ü4''', 'entity_name = ''Name Ü4'''),
    ('search => ''PAGES-ACT3''', 'action = ''pages-act3'''),
    ('search => ''described'', operation => ''{insert}''', 'false'),
    ('search => '''', category => ''{pages-cat2}''', 'category = ''pages-cat2'''),
    ('since => ''-infinity'', until => ''infinity'', target => ''b''', 'table_oid = ''b''::regclass'),
    ('since => (SELECT min(occurred_at) FROM audit.audit_events WHERE table_oid = ''b''::regclass), until => (SELECT max(occurred_at) FROM audit.audit_events WHERE table_oid = ''b''::regclass)',
     'occurred_at >= (SELECT min(occurred_at) FROM audit.audit_events WHERE table_oid = ''b''::regclass) AND occurred_at < (SELECT max(occurred_at) FROM audit.audit_events WHERE table_oid = ''b''::regclass)'),
    ('app_user_id => ''pages-u1'', tenant_id => ''pages-t1'', session_id => ''pages-s1'', operation => ''{insert}''', 'app_user_id = ''pages-u1'' AND tenant_id = ''pages-t1'' AND session_id = ''pages-s1'' AND operation = ''insert'''),
    ('category => ''{}''', 'false'),
    ('app_user_id => ''nobody''', 'false'),
    ('app_user_id => ''x'''' OR true --''', 'false'),
    ('search => ''%'''' OR true --''', 'false'),
    ('action => ARRAY[''x'''') OR true --'']', 'false');
CREATE FUNCTION plain(condition text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    EXECUTE 'SELECT coalesce(array_agg(event_id ORDER BY event_id DESC), ''{}'') FROM audit.audit_events WHERE ' || condition INTO ids;
    RETURN ids;
END
$$;
CREATE FUNCTION counted(arguments text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE 'SELECT audit.count_events(' || arguments || ')' INTO n;
    RETURN n;
END
$$;
SELECT left(arguments, 60) AS arguments, CASE WHEN p.ids = pages(arguments, 1000) AND p.ids = pages(arguments, 17) AND cardinality(p.ids) = counted(arguments) THEN 'right' ELSE 'WRONG' END AS pages,
       CASE WHEN condition ~ 'pages|''b|false|described|back|Ü|_b' THEN cardinality(p.ids) END AS events
FROM filters CROSS JOIN LATERAL (SELECT plain(condition) AS ids) AS p;
-- without a filter: everything
SELECT (SELECT array_agg(event_id) FROM audit.events(page_size => 1000)) = (plain('true'))[1:1000] AS first_page;

-- a page is stable while others write
SELECT array_agg(event_id) AS before FROM audit.events(category => '{pages-cat2}', page_size => 20) \gset
SELECT audit.log_event('pages-new', category => 'pages-cat2') > 0 AS logged FROM generate_series(1, 3);
SELECT array_agg(event_id) = (:'before'::bigint[])[11:20] AS same
FROM audit.events(category => '{pages-cat2}', page_size => 10, before_id => (:'before'::bigint[])[10]);

-- what cannot be taken
SELECT count(*) FROM audit.events(page_size => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(page_size => 1001);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(page_size => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(row_key => '1');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.count_events(row_key => '1');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(severity => '{fatal}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(since => '2026-01-02', until => '2026-01-02');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM audit.events(target => 'nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM (SELECT FROM audit.events(before_id => 0) UNION ALL SELECT FROM audit.events(before_id => -1)) AS none;

-- readers may, others not; nobody sees by it what the log does not show him
CREATE ROLE regress_events_pages_reader;
SET ROLE regress_events_pages_reader;
SELECT count(*) FROM audit.events();
RESET ROLE;
GRANT EXECUTE ON FUNCTION audit.events, audit.event_filters, audit.event_conditions, audit.event_values, audit.search_trigrams TO regress_events_pages_reader;
SET ROLE regress_events_pages_reader;
SELECT count(*) FROM audit.events();
RESET ROLE;
SELECT audit.grant_access('regress_events_pages_reader', 'reader');
SET ROLE regress_events_pages_reader;
SELECT count(*) FROM audit.events(page_size => 5);
SELECT audit.count_events(category => '{pages-cat1}');
RESET ROLE;

DROP OWNED BY regress_events_pages_reader;
DROP ROLE regress_events_pages_reader, regress_events_pages_dba;
DROP SCHEMA regress_events_pages CASCADE;
