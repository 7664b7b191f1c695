-- Cleaning up the application's own tables.
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
