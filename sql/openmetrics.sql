-- The present state as OpenMetrics: https://prometheus.io/docs/specs/om/open_metrics_spec/
-- Nothing here reads the log from end to end: it may be asked every few seconds.


CREATE FUNCTION audit.gauges() RETURNS TABLE (name text, type text, unit text, help text, labels jsonb, value numeric)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'pg_attest', 'info', '', 'The extension.', jsonb_build_object('version', extversion), 1::numeric
    FROM pg_extension WHERE extname = 'pg_attest'
    UNION ALL
    SELECT 'pg_attest_attached_tables', 'gauge', '', 'Tables that are attached.', '{}', count(*) FROM audit.attachment
    UNION ALL
    SELECT 'pg_attest_broken_tables', 'gauge', '', 'Attached tables with broken triggers.', '{}', count(*)
    FROM audit.attachments WHERE NOT healthy
    UNION ALL
    SELECT 'pg_attest_disabled_event_triggers', 'gauge', '', 'Event triggers of the audit that are not enabled always.', '{}', count(*)
    FROM pg_event_trigger WHERE evtname LIKE 'audit\_%' AND evtenabled <> 'A'
    UNION ALL
    SELECT 'pg_attest_default_partition_events', 'gauge', '', 'Events of months without a partition.', '{}', count(*)
    FROM audit.audit_events_default
    UNION ALL
    SELECT 'pg_attest_log_bytes', 'gauge', 'bytes', 'Size of events, tree and summaries, with their indexes.', jsonb_build_object('part', part), sum(bytes)
    FROM (SELECT 'events', pg_total_relation_size(inhrelid) FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass
          UNION ALL
          SELECT 'tree', pg_total_relation_size(unnest(ARRAY['audit.tiles', 'audit.tree_edge', 'audit.checkpoints',
              'audit.checkpoint_signatures', 'audit.checkpoint_timestamps']::regclass[]))
          UNION ALL
          SELECT 'summaries', pg_total_relation_size(unnest(ARRAY['audit.event_ranges', 'audit.range_values', 'audit.range_texts']::regclass[]))) AS relation (part, bytes)
    GROUP BY part
    UNION ALL
    SELECT 'pg_attest_sealed_events', 'counter', '', 'Leaves in the trees of all epochs.', '{}', coalesce(sum(size), 0)
    FROM audit.epochs e CROSS JOIN LATERAL (SELECT max(tree_size) FROM audit.checkpoints c WHERE c.epoch = e.epoch) AS tree (size)
    UNION ALL
    SELECT 'pg_attest_unsealed_events', 'gauge', '', 'Committed events that stand in no tree yet.', '{}', events FROM audit.unsealed()
    UNION ALL
    SELECT 'pg_attest_oldest_unsealed_age_seconds', 'gauge', 'seconds', 'Age of the oldest of them; 0 without any.', '{}',
           coalesce(round(extract(epoch FROM clock_timestamp() - oldest), 3), 0) FROM audit.unsealed()
    UNION ALL
    (SELECT 'pg_attest_last_checkpoint_timestamp_seconds', 'gauge', 'seconds', 'When the last checkpoint was made, in Unix time.', '{}',
            round(extract(epoch FROM sealed_at), 3)
     FROM audit.checkpoints ORDER BY epoch DESC, tree_size DESC LIMIT 1)
    UNION ALL
    SELECT 'pg_attest_sealer', 'stateset', '', 'Who seals.', jsonb_build_object('pg_attest_sealer', state), (state = sealer_state)::integer
    FROM audit.sealer_state() CROSS JOIN unnest(ARRAY['running', 'stopped', 'by hand']) AS state
$$;
COMMENT ON FUNCTION audit.gauges() IS 'The present state in numbers, as OpenMetrics has them: a row per sample of each metric family. Cheap enough to be asked every few seconds';

CREATE FUNCTION audit.openmetrics() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH sample AS (
        SELECT g.*, (SELECT '{' || string_agg(format('%s="%s"', key, replace(replace(replace(l.value, '\', '\\'), '"', '\"'), E'\n', '\n')),
                                              ',' ORDER BY key COLLATE "C") || '}' FROM jsonb_each_text(g.labels) l) AS label
        FROM audit.gauges() g
    ), family AS (
        SELECT format(E'# TYPE %s %s\n', name, type) || CASE WHEN unit <> '' THEN format(E'# UNIT %s %s\n', name, unit) ELSE '' END
               || format(E'# HELP %s %s\n', name, help)
               || string_agg(format(E'%s%s%s %s\n', name, CASE type WHEN 'counter' THEN '_total' WHEN 'info' THEN '_info' END, label, value), ''
                             ORDER BY label COLLATE "C") AS text, name
        FROM sample GROUP BY name, type, unit, help
    )
    SELECT string_agg(text, '' ORDER BY name COLLATE "C") || E'# EOF\n' FROM family
$$;
COMMENT ON FUNCTION audit.openmetrics() IS 'The present state as OpenMetrics text, for an endpoint that Prometheus scrapes; for postgres_exporter see docs/prometheus/queries.yaml';
