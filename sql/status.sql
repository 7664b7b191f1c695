-- Is all well?
CREATE FUNCTION audit.status() RETURNS TABLE (item text, value text, ok boolean, hint text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
                              'audit.checkpoint_signatures', 'audit.checkpoint_timestamps']::regclass[])) AS log (relation)
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
    SELECT 'events', count(*)::text, true, NULL FROM audit.audit_events
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
    SELECT 'last checkpoint', (SELECT format('epoch %s, tree size %s, %s', epoch, tree_size, sealed_at)
                               FROM audit.checkpoints ORDER BY epoch DESC, tree_size DESC LIMIT 1), true, NULL
    UNION ALL
    SELECT 'signatures of the last checkpoint', (SELECT (SELECT count(*) FROM audit.checkpoint_signatures s
                                                         WHERE (s.epoch, s.tree_size) = (c.epoch, c.tree_size))::text
                                                 FROM audit.checkpoints c ORDER BY epoch DESC, tree_size DESC LIMIT 1), true, NULL
$$;
COMMENT ON FUNCTION audit.status() IS 'The state of the audit: a line per check, ok false where something needs doing, with what';
