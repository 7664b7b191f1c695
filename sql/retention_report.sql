-- What is kept and what went, by month; and what has to be archived before it goes.
CREATE VIEW audit.months_to_archive AS
SELECT p.name
FROM audit.log_partitions p
WHERE p.ends < (SELECT pg_catalog.max(cutoff) + interval '30 days' FROM audit.retention_policies WHERE require_archive)
  AND EXISTS (SELECT FROM audit.audit_events e
              WHERE e.occurred_at >= p.starts AND e.occurred_at < p.ends AND e.operation <> 'system'
                AND e.event_id > (SELECT coalesce(pg_catalog.max(a.last_event_id), -9223372036854775808) FROM audit.archives a WHERE a.partition = p.name));
COMMENT ON VIEW audit.months_to_archive IS 'Months that are due within 30 days under a policy with require_archive, and that have newer events than the archives recorded of them, or none recorded';
COMMENT ON COLUMN audit.months_to_archive.name IS 'The partition of audit.audit_events';

CREATE FUNCTION audit.retention_report()
RETURNS TABLE (month date, subject text, events bigint, oldest timestamptz, newest timestamptz, policy text, due_at timestamptz,
               holds text[], archived_in text[], pruned bigint, last_pruned_at timestamptz, pruned_under text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT p.partition, p.name, p.is_default, p.starts FROM audit.log_partitions p ORDER BY p.is_default, p.starts LOOP
        RETURN QUERY EXECUTE format($query$
            WITH policies AS MATERIALIZED (SELECT * FROM audit.retention_policies),
            groups AS MATERIALIZED (SELECT * FROM audit.retention_groups($1)),
            holds AS MATERIALIZED (SELECT * FROM audit.holds_in_force),
            held AS MATERIALIZED (
                SELECT e.operation = 'event' AS is_event, e.schema_name, e.table_name, e.category, h.name
                FROM holds h JOIN %s e ON e.operation <> 'system' AND %s GROUP BY 1, 2, 3, 4, 5)
            SELECT date_trunc('month', g.oldest AT TIME ZONE 'UTC')::date,
                   CASE WHEN g.is_system THEN 'pg_attest' WHEN g.is_event THEN coalesce('category ' || g.category, 'application events')
                        WHEN g.table_name IS NOT NULL THEN 'table ' || format('%%I.%%I', g.schema_name, g.table_name) ELSE 'others' END,
                   sum(g.events)::bigint, min(g.oldest), max(g.newest), g.policy, min(g.oldest + p.keep),
                   coalesce((SELECT array_agg(DISTINCT h.name ORDER BY h.name) FROM held h
                    WHERE (h.is_event, h.schema_name, h.table_name, h.category) IS NOT DISTINCT FROM (g.is_event, g.schema_name, g.table_name, g.category)), '{}'),
                   coalesce((SELECT array_agg(DISTINCT a.uri ORDER BY a.uri) FROM audit.archives a WHERE a.partition = $2), '{}'),
                   0::bigint, NULL::timestamptz, '{}'::text[]
            FROM groups g LEFT JOIN policies p ON p.policy = g.policy
            GROUP BY 1, 2, g.policy, g.is_event, g.schema_name, g.table_name, g.category$query$, audit.partition_rows(part.partition), audit.hold_covers())
        USING part.partition, part.name;
    END LOOP;
    -- The default partition has events of any month: what went of it stands under the month of its oldest.
    RETURN QUERY
        SELECT CASE WHEN gone.part ~ '^audit_events_[0-9]{4}_[0-9]{2}$' THEN to_date(substr(gone.part, 14), 'YYYY_MM')
                    ELSE date_trunc('month', gone.first AT TIME ZONE 'UTC')::date END,
               gone.what, 0::bigint, min(gone.first), max(gone.last), NULL::text, NULL::timestamptz, '{}'::text[],
               coalesce((SELECT array_agg(DISTINCT a.uri ORDER BY a.uri) FROM audit.archives a WHERE a.partition = gone.part), '{}'),
               sum(gone.events)::bigint, max(gone.at), array_agg(DISTINCT gone.under)
        FROM (SELECT d.context ->> 'partition' AS part, coalesce(e ->> 'subject', 'category ' || coalesce(d.category, d.context ->> 'category')) AS what,
                     coalesce(e ->> 'oldest', d.context ->> 'oldest')::timestamptz AS first,
                     coalesce(e ->> 'newest', d.context ->> 'newest')::timestamptz AS last,
                     coalesce((e ->> 'events')::bigint, (d.context ->> 'count')::bigint) AS events,
                     d.captured_at AS at, coalesce(e ->> 'policy', 'clear: ' || d.reason) AS under
              FROM audit.audit_events d
              LEFT JOIN LATERAL jsonb_array_elements(CASE WHEN d.action = 'prune' THEN d.context -> 'events' END) AS e ON true
              WHERE d.operation = 'system' AND d.action IN ('prune', 'clear')) AS gone
        GROUP BY 1, gone.part, gone.what;
END
$$;
COMMENT ON FUNCTION audit.retention_report() IS 'Per month and table or category: how many events there are, under which policy and holds, when the oldest is due, where they are archived; and what was pruned or cleared, when, and under what. Reads the whole log';
