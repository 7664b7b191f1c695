-- The log in numbers: for SQL and Grafana, for InfluxDB, for Prometheus. docs/metrics.md tells how each is used.

CREATE FUNCTION audit.metrics(
    bucket interval DEFAULT '1 hour',
    since timestamptz DEFAULT now() - interval '1 day',
    until timestamptz DEFAULT now(),
    wanted text[] DEFAULT NULL)
RETURNS TABLE (at timestamptz, metric text, tags jsonb, field text, value numeric)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    -- Each kind of metric reads the period for itself: what is not wanted stays unread, by a condition that is looked at once.
    -- Buckets begin at fixed times, those of weeks on Mondays: whoever asks again gets the same ones.
    WITH period AS NOT MATERIALIZED (
        SELECT date_bin(bucket, e.occurred_at, '2001-01-01 00:00:00+00') AS at, e.*
        FROM audit.events_between(since, until) e
    ), request AS (
        -- As audit.log_request writes it; a session's audit.context may put anything in its place.
        SELECT at, context #>> '{request,provider}' AS provider,
               context #> '{request,success}' IS DISTINCT FROM 'true' AS failed,
               CASE WHEN jsonb_typeof(context #> '{request,response_time_ms}') = 'number'
                    THEN least((context #>> '{request,response_time_ms}')::numeric, 1e15)::float8 END AS ms,
               CASE WHEN jsonb_typeof(context #> '{metadata,usage}') = 'object' THEN context #> '{metadata,usage}' END AS usage
        FROM period WHERE operation = 'event' AND action = 'request' AND jsonb_typeof(context -> 'request') = 'object'
          AND (wanted IS NULL OR wanted && '{requests,api}')
    ), series AS (
        SELECT r.*, named.metric, jsonb_strip_nulls(jsonb_build_object('provider', r.provider)) AS tags
        FROM request r CROSS JOIN LATERAL (SELECT CASE WHEN r.provider IS NULL THEN 'requests' ELSE 'api' END) AS named (metric)
        WHERE wanted IS NULL OR named.metric = ANY (wanted)
    ), leaf AS (
        SELECT t.epoch, t.tile_index * 256 + l.place - 1 AS leaf_index, l.event_id
        FROM audit.tiles t CROSS JOIN unnest(t.event_ids) WITH ORDINALITY AS l (event_id, place)
        WHERE t.level = 0 AND int8range(t.min_event_id, t.max_event_id, '[]')
              -- A forged event may have the last bigint, of which there is no range.
              && (SELECT int8range(least(min(event_id), 9223372036854775806), least(max(event_id), 9223372036854775806), '[]') FROM period)
        UNION ALL
        SELECT t.epoch, t.first_leaf + l.place - 1, l.event_id
        FROM audit.tree_edge t CROSS JOIN unnest(t.event_ids) WITH ORDINALITY AS l (event_id, place)
    ), exposed AS (
        SELECT p.at, extract(epoch FROM c.sealed_at - p.captured_at) AS lag
        FROM period p
        LEFT JOIN leaf USING (event_id)
        LEFT JOIN LATERAL (SELECT sealed_at FROM audit.checkpoints c
                           WHERE c.epoch = leaf.epoch AND c.tree_size > leaf.leaf_index
                           ORDER BY c.tree_size LIMIT 1) c ON true
    )
    SELECT g.at, 'events', jsonb_strip_nulls(g.tags), f.field, f.value
    FROM (SELECT at, jsonb_build_object('operation', operation, 'schema', schema_name, 'table', table_name, 'category', category) AS tags,
                 count(*) AS count,
                 sum(coalesce(pg_column_size(old_values), 0) + coalesce(pg_column_size(new_values), 0)
                     + coalesce(pg_column_size(context), 0)) AS bytes
          FROM period WHERE wanted IS NULL OR 'events' = ANY (wanted) GROUP BY at, operation, schema_name, table_name, category) g
    CROSS JOIN LATERAL (VALUES ('count', g.count::numeric), ('bytes', g.bytes)) f (field, value)
    UNION ALL
    SELECT g.at, g.metric, g.tags, f.field, f.value
    FROM (SELECT at, metric, tags, count(*) AS count, count(*) FILTER (WHERE failed) AS errors,
                 percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY ms) AS ms
          FROM series GROUP BY at, metric, tags) g
    -- A field is an integer in all rows, or in none: InfluxDB refuses one that changes.
    CROSS JOIN LATERAL (VALUES ('count', g.count::numeric), ('errors', g.errors),
                               ('error_rate', round(g.errors::numeric / g.count, 6)),
                               ('p50_ms', round(g.ms[1]::numeric, 3)), ('p95_ms', round(g.ms[2]::numeric, 3)),
                               ('p99_ms', round(g.ms[3]::numeric, 3))) f (field, value)
    WHERE f.value IS NOT NULL
    UNION ALL
    -- Whatever numbers the application gives: calls, units, what it cost.
    SELECT at, metric, tags, 'usage_' || u.key, round(sum(u.value::numeric), 6)
    FROM series CROSS JOIN LATERAL jsonb_each(usage) u
    WHERE u.key <> '' AND jsonb_typeof(u.value) = 'number'
    GROUP BY at, metric, tags, u.key
    UNION ALL
    SELECT g.at, 'seal', '{}', f.field, f.value
    FROM (SELECT at, count(lag) AS sealed, count(*) - count(lag) AS unsealed, max(lag) AS max, avg(lag) AS mean
          FROM exposed WHERE wanted IS NULL OR 'seal' = ANY (wanted) GROUP BY at) g
    CROSS JOIN LATERAL (VALUES ('sealed', g.sealed::numeric), ('unsealed', g.unsealed),
                               ('lag_max_s', round(g.max, 6)), ('lag_mean_s', round(g.mean, 6))) f (field, value)
    WHERE f.value IS NOT NULL
    ORDER BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION audit.metrics IS 'The log in numbers, one per row: events by operation, table and category (count, bytes), requests and calls of providers (count, errors, error_rate, p50_ms, p95_ms, p99_ms, usage_…), sealing (sealed, unsealed, lag_max_s, lag_mean_s), per bucket of time from since to before until. wanted: of events, requests, api and seal those that are counted; NULL: all';
