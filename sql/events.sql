-- Pages of events: filters, keyset pagination, counts.
--
-- The query text is put together from the constant fragments below; every value reaches it as a parameter: $1 the filters that are
-- given, $2 the id before which to look, $3 the page size, $4 and $5 the period, $6 what the index is read for.

CREATE FUNCTION audit.event_conditions(filters jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(string_agg(condition, ' AND '), 'true')
    FROM (VALUES
        ('category',          'e.category = ANY (($1 ->> ''category'')::text[])'),
        ('severity',          'e.severity = ANY (($1 ->> ''severity'')::text[])'),
        ('action',            'e.action = ANY (($1 ->> ''action'')::text[])'),
        ('operation',         'e.operation = ANY (($1 ->> ''operation'')::audit.operation[])'),
        ('app_user_id',       'e.app_user_id = $1 ->> ''app_user_id'''),
        ('session_user_name', 'e.session_user_name = $1 ->> ''session_user_name'''),
        ('entity_type',       'e.entity_type = $1 ->> ''entity_type'''),
        ('entity_id',         'e.entity_id = $1 ->> ''entity_id'''),
        ('target',            'e.table_oid = ($1 ->> ''target'')::oid'),
        ('row_key',           'e.row_key = $1 ->> ''row_key'''),
        ('request_id',        'e.request_id = $1 ->> ''request_id'''),
        ('process_id',        'e.process_id = $1 ->> ''process_id'''),
        ('tenant_id',         'e.tenant_id = $1 ->> ''tenant_id'''),
        ('session_id',        'e.session_id = $1 ->> ''session_id'''),
        ('changed_column',    '$1 ->> ''changed_column'' = ANY (e.changed_columns)'),
        ('search',            '(e.description ILIKE $1 ->> ''search'' OR e.entity_name ILIKE $1 ->> ''search'' OR e.action COLLATE "default" ILIKE $1 ->> ''search'')'),
        ('since',             'e.occurred_at >= $4'),
        ('until',             'e.occurred_at < $5')
    ) AS known (filter, condition)
    WHERE filters ? filter
$$;
COMMENT ON FUNCTION audit.event_conditions IS 'Part of audit.events: the conditions, as SQL, of the filters that are given; their values stay parameters';

CREATE FUNCTION audit.event_filters(
    category text[], severity text[], action text[], operation audit.operation[], app_user_id text, session_user_name text,
    entity_type text, entity_id text, target regclass, row_key text, request_id text, process_id text, tenant_id text,
    session_id text, changed_column text, search text, since timestamptz, until timestamptz)
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text := (SELECT s FROM unnest(severity) AS s WHERE s <> ALL ('{debug,info,notice,warning,error,critical}'));
BEGIN
    IF row_key IS NOT NULL AND target IS NULL THEN
        RAISE EXCEPTION 'row_key needs target'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('The row key is ''%s'', of no table.', row_key),
                  HINT = 'Say which table the row is of: target => ''schema.table''.';
    END IF;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'unknown severity ''%''', unknown
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'No event has it.',
                  HINT = 'Severities are debug, info, notice, warning, error, critical.';
    END IF;
    IF since >= until THEN
        RAISE EXCEPTION 'the period is empty'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It begins %s and ends before %s.', since, until),
                  HINT = 'since must lie before until.';
    END IF;
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'category', category::text, 'severity', severity::text, 'action', action::text, 'operation', operation::text,
        'app_user_id', app_user_id, 'session_user_name', session_user_name, 'entity_type', entity_type, 'entity_id', entity_id,
        'target', target::oid::text, 'row_key', row_key, 'request_id', request_id, 'process_id', process_id,
        'tenant_id', tenant_id, 'session_id', session_id, 'changed_column', changed_column,
        'search', '%' || regexp_replace(nullif(search, ''), '([\\%_])', '\\\1', 'g') || '%', 'since', since, 'until', until));
END
$$;
COMMENT ON FUNCTION audit.event_filters IS 'Part of audit.events: the filters that are given, checked, as one object';

CREATE FUNCTION audit.event_driver(filters jsonb) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN filters ?| ARRAY['row_key', 'request_id', 'process_id', 'session_id'] THEN 'group'
        WHEN filters ? 'entity_id' THEN 'entity_id'
        WHEN filters ? 'app_user_id' THEN 'app_user_id'
        WHEN filters ? 'action' THEN 'action'
        WHEN filters ? 'tenant_id' THEN 'tenant_id'
        WHEN filters ? 'entity_type' THEN 'entity_type'
        WHEN filters ? 'category' THEN 'category'
        WHEN filters ? 'severity' THEN 'severity'
        WHEN filters ? 'search' THEN 'operation'
        WHEN (filters ->> 'operation')::audit.operation[] <@ '{ddl,event,system}' THEN 'operation'
        WHEN filters ?| ARRAY['target', 'session_user_name', 'operation', 'since', 'until'] THEN 'coarse'
        ELSE 'all'
    END
$$;
COMMENT ON FUNCTION audit.event_driver IS 'Part of audit.events: which index a page with these filters is read from; docs/design-decisions.md, "Pages of events"';

CREATE FUNCTION audit.events(
    category text[] DEFAULT NULL, severity text[] DEFAULT NULL, action text[] DEFAULT NULL, operation audit.operation[] DEFAULT NULL,
    app_user_id text DEFAULT NULL, session_user_name text DEFAULT NULL, entity_type text DEFAULT NULL, entity_id text DEFAULT NULL,
    target regclass DEFAULT NULL, row_key text DEFAULT NULL, request_id text DEFAULT NULL, process_id text DEFAULT NULL,
    tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, changed_column text DEFAULT NULL, search text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, before_id bigint DEFAULT NULL, page_size integer DEFAULT 50)
RETURNS SETOF audit.audit_events LANGUAGE plpgsql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off  -- a page is a small part of the log, whatever the statistics say
AS $$
#variable_conflict use_column
DECLARE
    filters CONSTANT jsonb := audit.event_filters(
        events.category, events.severity, events.action, events.operation, events.app_user_id, events.session_user_name,
        events.entity_type, events.entity_id, target, events.row_key, events.request_id, events.process_id, events.tenant_id,
        events.session_id, changed_column, search, since, until);
    conditions CONSTANT text := audit.event_conditions(filters);
    driver CONSTANT text := audit.event_driver(filters);
    before bigint := coalesce(before_id, 9223372036854775807);
    -- Of a coarse filter: how many events are looked through, and the months that they are in.
    window_size integer := 2000;
    months_from CONSTANT timestamptz := coalesce(date_trunc('month', since, 'UTC'), '-infinity');
    months_to CONSTANT timestamptz := coalesce((date_trunc('month', (until - interval '1 microsecond') AT TIME ZONE 'UTC') + interval '1 month')
                                               AT TIME ZONE 'UTC', 'infinity');
    missing integer := page_size;
    found bigint;
BEGIN
    IF page_size IS NULL OR page_size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'page_size is out of range'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(page_size::text, 'null')),
                  HINT = 'A page has 1 to 1000 events; COPY (SELECT …) takes all, see docs/activity.md.';
    END IF;
    CASE driver
    WHEN 'all' THEN
        RETURN QUERY EXECUTE
            'SELECT e.* FROM audit.audit_events e WHERE e.event_id < $2 AND ' || conditions || ' ORDER BY e.event_id DESC LIMIT $3'
            USING filters, before, page_size, since, until;
    WHEN 'coarse' THEN
        -- Many events or few, recent or long ago: whatever the planner thinks. Ever more of the newest events are looked through,
        -- until the page is full or the filter turns out to have few events itself: to sort those is cheaper then.
        LOOP
            RETURN QUERY EXECUTE
                'SELECT e.* FROM (SELECT e.* FROM audit.audit_events e
                                  WHERE e.event_id < $2 AND e.occurred_at >= $7 AND e.occurred_at < $8
                                  ORDER BY e.event_id DESC LIMIT $6) AS e
                 WHERE ' || conditions || ' ORDER BY e.event_id DESC LIMIT $3'
                USING filters, before, missing, since, until, window_size, months_from, months_to;
            GET DIAGNOSTICS found = ROW_COUNT;
            missing := missing - found;
            EXIT WHEN missing = 0;
            EXECUTE 'SELECT e.event_id FROM audit.audit_events e WHERE e.event_id < $1 AND e.occurred_at >= $3 AND e.occurred_at < $4
                     ORDER BY e.event_id DESC OFFSET $2 - 1 LIMIT 1'
                INTO before USING before, window_size, months_from, months_to;
            EXIT WHEN before IS NULL;
            EXECUTE 'SELECT count(*) FROM (SELECT FROM audit.audit_events e WHERE e.event_id + 0 < $2 AND ' || conditions || ' LIMIT $3) AS few'
                INTO found USING filters, before, window_size * 5, since, until;
            IF found < window_size * 5 THEN
                RETURN QUERY EXECUTE
                    'SELECT e.* FROM audit.audit_events e WHERE e.event_id + 0 < $2 AND ' || conditions || ' ORDER BY e.event_id + 0 DESC LIMIT $3'
                    USING filters, before, missing, since, until;
                EXIT;
            END IF;
            window_size := window_size * 10;
        END LOOP;
    WHEN 'group' THEN
        RETURN QUERY EXECUTE
            'SELECT e.* FROM audit.audit_events e WHERE e.event_id + 0 < $2 AND ' || conditions || ' ORDER BY e.event_id + 0 DESC LIMIT $3'
            USING filters, before, page_size, since, until;
    ELSE
        -- The page of each value, merged. Compared as a row, (value, event_id) can be read in order from its own index alone: the
        -- planner, which knows how many events have a value but not where they lie, must not walk the primary key for them.
        RETURN QUERY EXECUTE format(
            'SELECT page.* FROM unnest($6::%2$s[]) AS given (value)
             CROSS JOIN LATERAL (
                 SELECT e.* FROM audit.audit_events e
                 WHERE (e.%1$I, e.event_id) < (given.value, $2) AND e.%1$I >= given.value AND %3$s
                 ORDER BY e.%1$I DESC, e.event_id DESC LIMIT $3) AS page
             ORDER BY page.event_id DESC LIMIT $3',
            driver, CASE driver WHEN 'operation' THEN 'audit.operation' ELSE 'text' END,
            conditions || CASE driver WHEN 'operation' THEN ' AND e.action IS NOT NULL' ELSE '' END)
            USING filters, before, page_size, since, until,
                  CASE WHEN driver = 'operation' AND NOT filters ? driver THEN '{ddl,event,system}'
                       WHEN driver IN ('operation', 'category', 'severity', 'action')
                           THEN ARRAY(SELECT DISTINCT unnest((filters ->> driver)::text[]))
                       ELSE ARRAY[filters ->> driver] END;
    END CASE;
END
$$;
COMMENT ON FUNCTION audit.events IS 'A page of events, newest first: those before before_id, the last page''s lowest event_id. All filters given must hold; of arrays, one element. search looks for its text, whatever its case, in description, entity_name and action. since is included, until is not';

CREATE FUNCTION audit.count_events(
    category text[] DEFAULT NULL, severity text[] DEFAULT NULL, action text[] DEFAULT NULL, operation audit.operation[] DEFAULT NULL,
    app_user_id text DEFAULT NULL, session_user_name text DEFAULT NULL, entity_type text DEFAULT NULL, entity_id text DEFAULT NULL,
    target regclass DEFAULT NULL, row_key text DEFAULT NULL, request_id text DEFAULT NULL, process_id text DEFAULT NULL,
    tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, changed_column text DEFAULT NULL, search text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    filters CONSTANT jsonb := audit.event_filters(category, severity, action, operation, app_user_id, session_user_name, entity_type,
        entity_id, target, row_key, request_id, process_id, tenant_id, session_id, changed_column, search, since, until);
    found bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM audit.audit_events e WHERE ' || audit.event_conditions(filters)
        INTO found USING filters, NULL::bigint, NULL::integer, since, until;
    RETURN found;
END
$$;
COMMENT ON FUNCTION audit.count_events IS 'How many events audit.events would show in all, with the same filters. Counts them one by one';
