-- Is all well?
CREATE FUNCTION audit.status() RETURNS TABLE (item text, value text, ok boolean, hint text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT 'version', (SELECT extversion FROM pg_extension WHERE extname = 'pg_attest'), true, NULL
    UNION ALL
    SELECT 'attached tables', count(*)::text, true, NULL FROM audit.attachment
    UNION ALL
    SELECT 'attached schemas', count(*)::text, true, NULL FROM audit.attached_schema
    UNION ALL
    SELECT 'tables with broken triggers', count(*)::text, count(*) = 0,
           'SELECT audit.attach(…) repairs them: ' || string_agg(problems, '; ')
    FROM audit.attachments WHERE NOT healthy
    UNION ALL
    SELECT 'disabled event triggers', count(*)::text, count(*) = 0,
           'ALTER EVENT TRIGGER … ENABLE ALWAYS: ' || string_agg(evtname, ', ')
    FROM pg_event_trigger WHERE evtname LIKE 'audit\_%' AND evtenabled <> 'A'
    UNION ALL
    SELECT 'broken guards of the log', count(*)::text, count(*) = 0,
           'ALTER TABLE … ENABLE ALWAYS TRIGGER …, after CREATE TRIGGER … EXECUTE FUNCTION audit.guard() where it is missing: '
               || string_agg(format('%s on %s', guard.name, log.relation), ', ')
    FROM (SELECT 'audit.audit_events'::regclass
          UNION ALL
          SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass
          UNION ALL
          SELECT unnest(ARRAY['audit.installation', 'audit.epochs', 'audit.checkpoints', 'audit.tiles', 'audit.tree_edge',
                              'audit.checkpoint_signatures', 'audit.checkpoint_timestamps', 'audit.event_ranges', 'audit.range_values', 'audit.range_texts']::regclass[])) AS log (relation)
    CROSS JOIN (VALUES ('refuse_write'), ('refuse_truncate')) AS guard (name)
    WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = log.relation AND tgname = guard.name
                      AND tgfoid = 'audit.guard()'::regprocedure AND tgenabled = 'A')
    UNION ALL
    SELECT 'months ahead', count(*)::text, count(*) >= 2,
           CASE WHEN count(*) < 2 THEN 'SELECT audit.maintain(); makes them' END
    FROM generate_series(1, 12) AS ahead
    WHERE EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass AND inhrelid = to_regclass(
        'audit.audit_events_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead), 'YYYY_MM')))
    UNION ALL
    SELECT 'events in the default partition', count(*)::text, count(*) = 0,
           CASE WHEN count(*) > 0 THEN 'SELECT audit.maintain(); moves them' END
    FROM audit.audit_events_default
    UNION ALL
    SELECT 'events', audit.count_events()::text, true, NULL
    UNION ALL
    SELECT 'unsealed events', events::text, true, NULL FROM audit.unsealed()
    UNION ALL
    SELECT 'age of the oldest unsealed event', date_trunc('second', clock_timestamp() - oldest)::text,
           oldest IS NULL OR clock_timestamp() - oldest < interval '1 hour',
           CASE WHEN clock_timestamp() - oldest >= interval '1 hour'
                THEN 'Superusers could alter it unnoticed: SELECT audit.seal(); seals it, shared_preload_libraries = ''pg_attest'' does so every audit.seal_interval' END
    FROM audit.unsealed()
    UNION ALL
    SELECT 'sealer', sealer_state, sealer_state <> 'stopped',
           CASE WHEN sealer_state = 'stopped' THEN 'It is started again within a minute; the server''s log tells why it stopped' END
    FROM audit.sealer_state()
    UNION ALL
    SELECT 'events not summarised', waiting.events::text || CASE WHEN waiting.events > 100000 THEN ' or more' ELSE '' END, waiting.events <= 100000,
           CASE WHEN waiting.events > 100000
                THEN 'Pages of them are slow: SELECT * FROM audit.maintain(); summarises what is sealed and has no transaction open beneath it, the background worker does so by itself' END
    FROM (SELECT count(*) AS events FROM (
              SELECT FROM audit.audit_events
              WHERE event_id > (SELECT coalesce(max(last_id), -9223372036854775808) FROM audit.event_ranges) LIMIT 100001) AS few) AS waiting
    UNION ALL
    SELECT 'last checkpoint', (SELECT format('epoch %s, tree size %s, %s', epoch, tree_size, sealed_at)
                               FROM audit.checkpoints ORDER BY epoch DESC, tree_size DESC LIMIT 1), true, NULL
    UNION ALL
    SELECT 'signatures of the last checkpoint', (SELECT (SELECT count(*) FROM audit.checkpoint_signatures s
                                                         WHERE (s.epoch, s.tree_size) = (c.epoch, c.tree_size))::text
                                                 FROM audit.checkpoints c ORDER BY epoch DESC, tree_size DESC LIMIT 1), true, NULL
    UNION ALL
    SELECT 'retention policies', count(*)::text, true, NULL FROM audit.retention_policies
    UNION ALL
    SELECT 'active holds', count(*)::text, true, NULL FROM audit.holds WHERE active
    UNION ALL
    SELECT 'months due under every policy', count(*)::text, count(*) = 0,
           CASE WHEN count(*) > 0 THEN 'CALL audit.prune(); prunes them: ' || string_agg(p.name, ', ' ORDER BY p.name) END
    FROM audit.log_partitions p
    WHERE p.ends < (SELECT min(cutoff) FROM audit.retention_policies HAVING bool_or(policy = 'default'))
      AND NOT EXISTS (SELECT FROM audit.holds h WHERE h.active AND coalesce(h.period && tstzrange(p.starts, p.ends), true))
      AND EXISTS (SELECT FROM audit.audit_events e WHERE e.occurred_at >= p.starts AND e.occurred_at < p.ends AND e.operation <> 'system')
    UNION ALL
    SELECT 'months to archive before they are due', count(*)::text, count(*) = 0,
           CASE WHEN count(*) > 0 THEN 'attest archive: ' || string_agg(p.name, ', ' ORDER BY p.name) END
    FROM audit.months_to_archive p
    UNION ALL
    SELECT 'storage of emptied months', pg_size_pretty(size), size = 0,
           CASE WHEN size > 0 THEN 'CALL audit.prune(); or the background worker gives it back to the file system' END
    FROM (SELECT sum(pg_relation_size(part)) AS size FROM pg_class, unnest(ARRAY[oid, reltoastrelid]) AS part WHERE oid = 'audit.emptied_month'::regclass) AS emptied
    UNION ALL
    SELECT 'failed parts of upkeep', count(*)::text, count(*) = 0,
           CASE WHEN count(*) > 0 THEN 'The server''s log tells why, and the next run tries again: '
               || string_agg(format('%s of %s (SQLSTATE %s)', task, subject, sqlstate), '; ' ORDER BY task, subject) END
    FROM audit.upkeep_failures
    UNION ALL
    SELECT 'last upkeep', coalesce(date_trunc('second', max(begun.captured_at))::text, 'none by the worker'),
           (max(begun.captured_at) IS NULL OR coalesce(max(begun.captured_at) <= max(ended.captured_at), false) OR bool_or(runs.pid IS NOT NULL)),
           CASE WHEN NOT (max(begun.captured_at) IS NULL OR coalesce(max(begun.captured_at) <= max(ended.captured_at), false) OR bool_or(runs.pid IS NOT NULL))
                THEN 'It did not end: the server''s log tells why. The worker''s next run puts that right; SELECT * FROM audit.maintain(); does its work by hand' END
    FROM (SELECT 1) AS once
    LEFT JOIN LATERAL (SELECT captured_at FROM audit.audit_events WHERE operation = 'system' AND action = 'begin upkeep' ORDER BY 1 DESC LIMIT 1) AS begun ON true
    LEFT JOIN LATERAL (SELECT captured_at FROM audit.audit_events WHERE operation = 'system' AND action = 'end upkeep' ORDER BY 1 DESC LIMIT 1) AS ended ON true
    LEFT JOIN pg_stat_activity AS runs ON runs.backend_type = 'pg_attest keeper' AND runs.datname = current_database()
$$;
COMMENT ON FUNCTION audit.status() IS 'The state of the audit: a line per check, ok false where something needs doing, with what';
