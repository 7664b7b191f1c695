-- Pages of events: filters, keyset pagination, counts.
--
-- The query text is put together from the constant fragments below; every value reaches it as a parameter: $1 the filters that are
-- given, $2 the id before which to look, $3 how many events are missing on the page, $4 and $5 the period.
-- The primary key leads to a page, or a group's index: what could lead the planner to another one is written as an expression.
-- What is called often is plpgsql, which keeps its plans.

CREATE FUNCTION audit.event_conditions(filters jsonb, summarized jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(string_agg(condition, ' AND '), 'true')
    FROM (VALUES
        ('category',          'e.category = ANY (($1 ->> ''category'')::text[])'),
        ('severity',          'e.severity = ANY (($1 ->> ''severity'')::text[])'),
        ('action',            'e.action || '''' = ANY (($1 ->> ''action'')::text[])'),
        ('operation',         'e.operation = ANY (($1 ->> ''operation'')::audit.operation[])'),
        ('app_user_id',       'e.app_user_id = $1 ->> ''app_user_id'''),
        ('session_user_name', 'e.session_user_name = $1 ->> ''session_user_name'''),
        ('entity_type',       'e.entity_type = $1 ->> ''entity_type'''),
        ('entity_id',         'e.entity_id = $1 ->> ''entity_id'''),
        ('target',            'e.table_oid::bigint = ($1 ->> ''target'')::bigint'),
        ('row_key',           'e.table_oid = ($1 ->> ''target'')::oid AND e.row_key = $1 ->> ''row_key'''),
        ('request_id',        CASE WHEN summarized ? 'request_id' THEN 'e.request_id || '''' = $1 ->> ''request_id''' ELSE 'e.request_id = $1 ->> ''request_id''' END),
        ('process_id',        CASE WHEN summarized ? 'process_id' THEN 'e.process_id || '''' = $1 ->> ''process_id''' ELSE 'e.process_id = $1 ->> ''process_id''' END),
        ('tenant_id',         'e.tenant_id = $1 ->> ''tenant_id'''),
        ('session_id',        'e.session_id = $1 ->> ''session_id'''),
        ('changed_column',    '$1 ->> ''changed_column'' = ANY (e.changed_columns)'),
        ('search',            '(e.description ILIKE $1 ->> ''search'' OR e.entity_name ILIKE $1 ->> ''search'' OR e.action COLLATE "default" ILIKE $1 ->> ''search'')'),
        ('since',             'e.occurred_at >= $4'),
        ('until',             'e.occurred_at < $5')
    ) AS known (filter, condition)
    WHERE filters ? filter);
END
$$;
COMMENT ON FUNCTION audit.event_conditions IS 'Part of audit.events: the conditions, as SQL, of the filters that are given; their values stay parameters. No index serves those of summarised ones';

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

CREATE FUNCTION audit.event_values(filters jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_object_agg(given.filter,
        CASE WHEN given.filter IN ('category', 'severity', 'action', 'operation')
             THEN (SELECT coalesce(to_jsonb(array_agg(DISTINCT one)), '[]') FROM unnest((given.value)::text[]) AS one)
             ELSE jsonb_build_array(given.value) END), '{}')
    FROM (SELECT filter, value FROM jsonb_each_text(filters) AS one (filter, value)
          WHERE filter = ANY (enum_range(NULL::audit.summarized)::text[])
            -- Of a group that is not large no range tells.
            AND (filter NOT IN ('request_id', 'process_id')
                 OR (SELECT max(v.last_id) FROM audit.range_values v WHERE v.filter = one.filter::audit.summarized AND v.value = one.value) IS NOT NULL)
          UNION ALL
          -- No other events have what is looked through.
          SELECT 'operation', '{ddl,event,system}' WHERE filters ? 'search' AND NOT filters ? 'operation') AS given);
END
$$;
COMMENT ON FUNCTION audit.event_values IS 'Part of audit.events: the filters that are summarised, each with the values of which one must hold';

CREATE FUNCTION audit.leading_filter(given jsonb, upper_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    RETURN (SELECT filter.key
    FROM jsonb_each(given) AS filter
    CROSS JOIN LATERAL (
        SELECT count(*) AS ranges, coalesce(sum(v.events), 0) AS events, min(v.last_id) AS lowest
        FROM jsonb_array_elements_text(filter.value) AS g (value)
        CROSS JOIN LATERAL (SELECT v.events, v.last_id FROM audit.range_values v
                            WHERE v.filter = filter.key::audit.summarized AND v.value = g.value AND v.last_id <= upper_id
                            ORDER BY v.last_id DESC LIMIT 100) AS v) AS newest
    ORDER BY newest.events::float8 / (upper_id::float8 + 1 - CASE WHEN newest.ranges < 100 THEN (SELECT min(first_id) FROM audit.event_ranges) ELSE newest.lowest END)
    LIMIT 1);
END
$$;
COMMENT ON FUNCTION audit.leading_filter IS 'Part of audit.events: of several filters the one with the fewest events, as far as its newest ranges tell';

CREATE FUNCTION audit.next_ranges(
    given jsonb, trigrams bytea, since timestamptz, until timestamptz, upper_id bigint, before_id bigint, wanted bigint,
    OUT first_ids bigint[], OUT last_ids bigint[], OUT ids bigint[], OUT occurred_from timestamptz, OUT occurred_to timestamptz, OUT lowest_id bigint, OUT is_last boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
-- Few rows from the end of an index, whatever the statistics say.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off
AS $$
DECLARE
    filters CONSTANT text[] := ARRAY(SELECT jsonb_object_keys(given));
    leader CONSTANT text := CASE WHEN cardinality(filters) > 1 THEN audit.leading_filter(given, upper_id) ELSE filters[1] END;
    others text := '';
    part record;
    rows_read bigint := 0;
    expected bigint := 0;
    is_whole boolean;
    range_first bigint;
    range_ids bigint[];
BEGIN
    IF cardinality(filters) > 1 THEN
        others := (SELECT string_agg(format(
            ' AND EXISTS (SELECT FROM audit.range_values o WHERE o.filter = %1$L AND o.last_id = r.last_id
                          AND o.value = ANY (ARRAY(SELECT jsonb_array_elements_text($1 -> %1$L))))', other), '')
            FROM unnest(filters) AS other WHERE other <> leader);
    END IF;
    IF trigrams IS NOT NULL THEN
        others := others || ' AND EXISTS (SELECT FROM audit.range_texts x WHERE x.last_id = r.last_id AND audit.has_trigrams(x.trigrams, $6))';
    END IF;
    FOR part IN EXECUTE format(
        'SELECT found.* FROM (SELECT jsonb_array_elements_text($1 -> %1$L)%2$s) AS g (value)
         CROSS JOIN LATERAL (
             SELECT r.first_id, r.last_id, r.occurred_from, r.occurred_to, %3$s AND r.occurred_to >= $2 AND r.occurred_from < $3%4$s
             ORDER BY r.last_id DESC LIMIT $5) AS found
         ORDER BY found.last_id DESC LIMIT $5',
        coalesce(leader, ''), CASE WHEN leader IS NULL THEN ' UNION ALL SELECT NULL' END,
        CASE WHEN leader IS NULL THEN 'r.events, NULL::bigint[] AS ids FROM audit.event_ranges r WHERE r.last_id <= $4'
             ELSE format('v.events, v.ids FROM audit.range_values v JOIN audit.event_ranges r ON r.last_id = v.last_id
                          WHERE v.filter = %L AND v.value = g.value AND v.last_id <= $4', leader) END,
        others)
        USING given, coalesce(since, '-infinity'), coalesce(until, 'infinity'), upper_id, wanted + 1, trigrams
    LOOP
        rows_read := rows_read + 1;
        IF part.last_id IS DISTINCT FROM lowest_id THEN
            is_last := expected < wanted;
            EXIT WHEN NOT is_last;
            IF is_whole THEN
                first_ids := first_ids || range_first;
                last_ids := last_ids || lowest_id;
            ELSE
                ids := ids || range_ids;
            END IF;
            lowest_id := part.last_id;
            range_first := part.first_id;
            range_ids := NULL;
            is_whole := false;
        END IF;
        is_whole := is_whole OR part.ids IS NULL;
        range_ids := range_ids || part.ids;
        occurred_from := least(occurred_from, part.occurred_from);
        occurred_to := greatest(occurred_to, part.occurred_to);
        -- Where neither before_id nor the period cuts the range, all its events count.
        IF part.last_id < before_id AND part.occurred_from >= coalesce(since, '-infinity') AND part.occurred_to < coalesce(until, 'infinity') THEN
            expected := expected + part.events;
        END IF;
    END LOOP;
    is_last := rows_read <= wanted AND is_last IS NOT FALSE;
    -- Of the last range there may be more values than were read.
    IF is_whole OR rows_read > wanted THEN
        first_ids := first_ids || range_first;
        last_ids := last_ids || lowest_id;
    ELSE
        ids := ids || range_ids;
    END IF;
END
$$;
COMMENT ON FUNCTION audit.next_ranges IS 'Part of audit.events: the next ranges, up to upper_id, that have events with given values, so many that they have as many as are wanted; with trigrams those whose texts may have them: whole ones, and ids of those that have few; lowest_id is the last of them, NULL where there are none; is_last: none comes below it';

CREATE FUNCTION audit.events(
    category text[] DEFAULT NULL, severity text[] DEFAULT NULL, action text[] DEFAULT NULL, operation audit.operation[] DEFAULT NULL,
    app_user_id text DEFAULT NULL, session_user_name text DEFAULT NULL, entity_type text DEFAULT NULL, entity_id text DEFAULT NULL,
    target regclass DEFAULT NULL, row_key text DEFAULT NULL, request_id text DEFAULT NULL, process_id text DEFAULT NULL,
    tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, changed_column text DEFAULT NULL, search text DEFAULT NULL,
    since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, before_id bigint DEFAULT NULL, page_size integer DEFAULT 50)
RETURNS SETOF audit.audit_events LANGUAGE plpgsql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan  -- a page is a small part of the log, whatever the statistics say
AS $$
#variable_conflict use_column
DECLARE
    filters CONSTANT jsonb := audit.event_filters(
        events.category, events.severity, events.action, events.operation, events.app_user_id, events.session_user_name,
        events.entity_type, events.entity_id, target, events.row_key, events.request_id, events.process_id, events.tenant_id,
        events.session_id, changed_column, search, since, until);
    given CONSTANT jsonb := audit.event_values(filters);
    conditions CONSTANT text := audit.event_conditions(filters, given);
    trigrams CONSTANT bytea := audit.search_trigrams(filters ->> 'search');
    before CONSTANT bigint := coalesce(before_id, 9223372036854775807);
    summarized_to CONSTANT bigint := coalesce((SELECT max(last_id) FROM audit.event_ranges), -9223372036854775808);
    upper_id bigint := summarized_to;
    missing integer := page_size;
    -- Of events with the leading filter the other conditions let few through: ever more are looked at.
    wanted bigint := CASE WHEN (SELECT count(*) > 1 FROM jsonb_object_keys(given)) THEN 4 * page_size ELSE page_size END;
    -- So many events behind the last range are looked at to know when they occurred.
    many CONSTANT integer := 5000;
    tail record;
    next record;
    found bigint;
BEGIN
    IF page_size IS NULL OR page_size NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'page_size is out of range'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(page_size::text, 'null')),
                  HINT = 'A page has 1 to 1000 events; COPY (SELECT …) takes all, see docs/activity.md.';
    END IF;
    IF filters - ARRAY(SELECT jsonb_object_keys(given)) ?| ARRAY['row_key', 'request_id', 'process_id'] THEN
        -- The group's index, then a sort; + 0 keeps the planner off the primary key.
        RETURN QUERY EXECUTE
            'SELECT e.* FROM audit.audit_events e WHERE e.event_id + 0 < $2 AND ' || conditions || ' ORDER BY e.event_id + 0 DESC LIMIT $3'
            USING filters, before, page_size, since, until;
        RETURN;
    ELSIF filters ? 'entity_id' THEN
        -- As a comparison of rows, which its index alone has in order.
        RETURN QUERY EXECUTE
            'SELECT e.* FROM audit.audit_events e
             WHERE (e.entity_id, e.event_id) < ($1 ->> ''entity_id'', $2) AND e.entity_id >= $1 ->> ''entity_id'' AND ' || conditions
            || ' ORDER BY e.entity_id DESC, e.event_id DESC LIMIT $3'
            USING filters, before, page_size, since, until;
        RETURN;
    END IF;
    IF before > summarized_to THEN
        -- Most months have none of them: leaving those out of the query takes longer to plan without saying when they occurred.
        SELECT count(*) AS events, min(behind.occurred_at) AS occurred_from, max(behind.occurred_at) AS occurred_to INTO tail
        FROM (SELECT e.occurred_at FROM audit.audit_events e WHERE e.event_id > summarized_to AND e.event_id < before LIMIT many) AS behind;
        IF tail.events > 0 THEN
            RETURN QUERY EXECUTE
                'SELECT e.* FROM audit.audit_events e WHERE e.event_id < $2 AND e.event_id > $6 AND '
                || CASE WHEN tail.events < many THEN 'e.occurred_at >= $7 AND e.occurred_at <= $8 AND ' ELSE '' END
                || conditions || ' ORDER BY e.event_id DESC LIMIT $3'
                USING filters, before, missing, since, until, summarized_to, tail.occurred_from, tail.occurred_to;
            GET DIAGNOSTICS found = ROW_COUNT;
            missing := missing - found;
        END IF;
    ELSE
        upper_id := (SELECT min(last_id) FROM audit.event_ranges WHERE last_id >= before);
    END IF;
    WHILE missing > 0 LOOP
        next := audit.next_ranges(given, trigrams, since, until, upper_id, before, wanted);
        IF next.first_ids IS NOT NULL OR next.ids IS NOT NULL THEN
            RETURN QUERY EXECUTE concat(
                'SELECT page.* FROM (',
                CASE WHEN next.first_ids IS NOT NULL THEN
                'SELECT e.* FROM ROWS FROM (unnest($6), unnest($7)) AS r (first_id, last_id)
                 CROSS JOIN LATERAL (
                     SELECT e.* FROM audit.audit_events e
                     WHERE e.event_id >= r.first_id AND e.event_id <= r.last_id AND e.event_id < $2
                       AND e.occurred_at >= $9 AND e.occurred_at <= $10 AND ' || conditions || ' ORDER BY e.event_id DESC LIMIT $3) AS e' END,
                CASE WHEN next.first_ids IS NOT NULL AND next.ids IS NOT NULL THEN ' UNION ALL ' END,
                CASE WHEN next.ids IS NOT NULL THEN
                'SELECT e.* FROM audit.audit_events e
                 WHERE e.event_id = ANY ($8) AND e.event_id < $2 AND e.occurred_at >= $9 AND e.occurred_at <= $10 AND ' || conditions END,
                ') AS page ORDER BY page.event_id DESC LIMIT $3')
                USING filters, before, missing, since, until, next.first_ids, next.last_ids, next.ids, next.occurred_from, next.occurred_to;
            GET DIAGNOSTICS found = ROW_COUNT;
            missing := missing - found;
        END IF;
        EXIT WHEN next.is_last;
        upper_id := next.lowest_id - 1;
        wanted := wanted * 4;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.events IS 'A page of events, newest first: those before before_id, the last page''s lowest event_id. All filters given must hold; of arrays, one element. search looks for its text, whatever its case, in description, entity_name and action. since is included, until is not';

CREATE FUNCTION audit.events_having(given jsonb, since timestamptz, until timestamptz) RETURNS SETOF audit.audit_events
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    highest CONSTANT bigint := 9223372036854775807;
    summarized_to CONSTANT bigint := coalesce((SELECT max(last_id) FROM audit.event_ranges), -9223372036854775808);
    found CONSTANT record := audit.next_ranges(given, NULL, since, until, summarized_to, highest, highest - 1);
BEGIN
    RETURN QUERY
        SELECT e.* FROM audit.audit_events e
        WHERE e.event_id > summarized_to AND e.occurred_at >= since AND e.occurred_at < until
        UNION ALL
        SELECT e.* FROM audit.audit_events e
        WHERE e.event_id = ANY (found.ids) AND e.occurred_at >= since AND e.occurred_at < until
        UNION ALL
        SELECT e.* FROM ROWS FROM (unnest(found.first_ids), unnest(found.last_ids)) AS r (first_id, last_id)
        JOIN audit.audit_events e ON e.event_id >= r.first_id AND e.event_id <= r.last_id
        WHERE e.occurred_at >= since AND e.occurred_at < until;
END
$$;
COMMENT ON FUNCTION audit.events_having IS 'Those events of a period among which all are that have given values, of what is summarised: their ranges, and what no range covers yet';

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
    given CONSTANT jsonb := audit.event_values(filters);
    conditions CONSTANT text := audit.event_conditions(filters, given);
    summarized_to CONSTANT bigint := (SELECT max(last_id) FROM audit.event_ranges);
    highest CONSTANT bigint := 9223372036854775807;
    next record;
    above bigint;
    below bigint;
BEGIN
    IF filters = '{}' THEN
        SELECT coalesce(sum(r.events), 0) INTO below FROM audit.event_ranges r WHERE NOT r.is_stale;
        EXECUTE 'SELECT (SELECT count(*) FROM audit.audit_events e WHERE e.event_id > $1)
                      + (SELECT count(*) FROM audit.event_ranges r JOIN audit.audit_events e ON e.event_id >= r.first_id AND e.event_id <= r.last_id WHERE r.is_stale)'
            INTO above USING coalesce(summarized_to, -9223372036854775808);
        RETURN above + below;
    END IF;
    IF filters - ARRAY(SELECT jsonb_object_keys(given)) = '{}' AND (SELECT count(*) = 1 FROM jsonb_object_keys(given))
       AND NOT EXISTS (SELECT FROM audit.event_ranges WHERE is_stale) THEN
        -- One filter that is summarised, of whose values an event has no more than one: the summaries have counted.
        SELECT coalesce(sum(v.events), 0) INTO below
        FROM jsonb_each(given) AS one CROSS JOIN LATERAL jsonb_array_elements_text(one.value) AS g (value)
        CROSS JOIN LATERAL (SELECT v.events FROM audit.range_values v WHERE v.filter = one.key::audit.summarized AND v.value = g.value OFFSET 0) AS v;
        EXECUTE 'SELECT count(*) FROM audit.audit_events e WHERE e.event_id > $2 AND ' || conditions
            INTO above USING filters, coalesce(summarized_to, -9223372036854775808);
        RETURN above + below;
    END IF;
    next := audit.next_ranges(given, audit.search_trigrams(filters ->> 'search'), since, until, summarized_to, highest, highest - 1);
    -- A group has an index; and to read most of the log by ranges takes longer than to read it all.
    IF filters - ARRAY(SELECT jsonb_object_keys(given)) ?| ARRAY['row_key', 'request_id', 'process_id', 'entity_id'] OR summarized_to IS NULL
       OR coalesce(cardinality(next.last_ids), 0) > (SELECT count(*) FROM audit.event_ranges) / 8 THEN
        EXECUTE 'SELECT count(*) FROM audit.audit_events e WHERE ' || conditions INTO above USING filters, NULL::bigint, NULL::integer, since, until;
        RETURN above;
    END IF;
    EXECUTE 'SELECT count(*) FROM audit.audit_events e WHERE e.event_id > $2 AND ' || conditions
        INTO above USING filters, summarized_to, NULL::integer, since, until;
    EXECUTE 'SELECT (SELECT count(*) FROM audit.audit_events e WHERE e.event_id = ANY ($6) AND e.occurred_at >= $9 AND e.occurred_at <= $10 AND ' || conditions || ')
                  + (SELECT count(*) FROM ROWS FROM (unnest($7), unnest($8)) AS r (first_id, last_id)
                     JOIN audit.audit_events e ON e.event_id >= r.first_id AND e.event_id <= r.last_id AND e.occurred_at >= $9 AND e.occurred_at <= $10 AND ' || conditions || ')'
        INTO below USING filters, NULL::bigint, NULL::integer, since, until, next.ids, next.first_ids, next.last_ids, next.occurred_from, next.occurred_to;
    RETURN above + below;
END
$$;
COMMENT ON FUNCTION audit.count_events IS 'How many events audit.events would show in all, with the same filters. Of several filters, of search and of periods it counts them one by one';
