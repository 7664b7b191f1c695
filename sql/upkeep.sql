-- Cleaning up the application's own tables, and what of upkeep failed.
CREATE VIEW audit.cleanups AS
SELECT target, context ->> 'column' AS cleanup_column, (context ->> 'keep')::interval AS keep,
       captured_at AS attached_at, session_user_name AS attached_by, event_id
FROM (SELECT e.*, t.target, pg_catalog.row_number() OVER (PARTITION BY t.target ORDER BY e.event_id DESC) AS age
      FROM audit.audit_events e
      CROSS JOIN LATERAL (SELECT audit.table_now(e.context ->> 'installation', e.table_oid, e.schema_name, e.table_name)::regclass) AS t (target)
      WHERE e.operation = 'system' AND e.action IN ('attach cleanup', 'detach cleanup')) AS said
WHERE age = 1 AND action = 'attach cleanup' AND target IS NOT NULL;
COMMENT ON VIEW audit.cleanups IS 'The application''s tables whose old rows are deleted by upkeep';
COMMENT ON COLUMN audit.cleanups.target IS 'The table';
COMMENT ON COLUMN audit.cleanups.cleanup_column IS 'The column that tells a row''s age';
COMMENT ON COLUMN audit.cleanups.keep IS 'How long rows stay';
COMMENT ON COLUMN audit.cleanups.attached_at IS 'When the cleanup was attached';
COMMENT ON COLUMN audit.cleanups.attached_by IS 'By which session user';
COMMENT ON COLUMN audit.cleanups.event_id IS 'The event that records it';

CREATE FUNCTION audit.attach_cleanup(target regclass, cleanup_column text, keep interval) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'attach_cleanup_wrapper';
COMMENT ON FUNCTION audit.attach_cleanup IS 'Has upkeep delete the rows of a table that are older than keep, in batches, as the table''s owner. Needs ownership of the table. Again with other settings: changes them';

CREATE FUNCTION audit.detach_cleanup(target regclass) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'detach_cleanup_wrapper';
COMMENT ON FUNCTION audit.detach_cleanup IS 'Ends the cleanup of a table. Needs ownership of the table';

CREATE VIEW audit.upkeep_failures AS
WITH said AS (
    SELECT e.event_id, e.action, e.captured_at, e.context ->> 'task' AS task, e.context ->> 'subject' AS subject, e.context ->> 'sqlstate' AS sqlstate,
           CASE WHEN e.context ->> 'task' = 'cleanup'
                THEN audit.table_now(e.context ->> 'installation', e.table_oid, e.schema_name, e.table_name) END AS target
    FROM audit.audit_events e
    WHERE e.operation = 'system' AND e.action IN ('fail upkeep', 'resume upkeep')
), last_said AS (
    SELECT *, pg_catalog.row_number() OVER (PARTITION BY task, coalesce(target::text, subject) ORDER BY event_id DESC) AS age FROM said
)
SELECT f.task, CASE WHEN c.oid IS NULL THEN f.subject ELSE pg_catalog.format('%I.%I', n.nspname, c.relname) END AS subject, f.sqlstate, f.captured_at AS failed_at, f.event_id
FROM last_said f LEFT JOIN pg_catalog.pg_class c ON c.oid = f.target LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE f.age = 1 AND f.action = 'fail upkeep'
  AND CASE f.task WHEN 'prune' THEN pg_catalog.to_regclass(f.subject) IS NOT NULL
                  WHEN 'cleanup' THEN EXISTS (SELECT FROM audit.cleanups u WHERE u.target = f.target::regclass)
                  ELSE true END;
COMMENT ON VIEW audit.upkeep_failures IS 'What failed when upkeep was at it last; the next run tries it again. The server''s log, and whoever called, have the message';
COMMENT ON COLUMN audit.upkeep_failures.task IS 'months: partitions ahead; prune: a partition of the log; cleanup: a table of the application''s';
COMMENT ON COLUMN audit.upkeep_failures.subject IS 'The partition or table';
COMMENT ON COLUMN audit.upkeep_failures.sqlstate IS 'The error''s SQLSTATE';
COMMENT ON COLUMN audit.upkeep_failures.failed_at IS 'When it failed last';
COMMENT ON COLUMN audit.upkeep_failures.event_id IS 'The event that records it';
