-- What happened, for people to read; and the log in the shape of other systems' tables.

CREATE VIEW audit.activity AS
SELECT e.event_id, e.occurred_at,
       e.app_user_id, e.session_user_name, e.effective_role,
       e.operation, e.category, e.severity, e.action,
       CASE WHEN e.table_name IS NOT NULL THEN e.schema_name || '.' || e.table_name
            ELSE e.entity_type END AS subject,
       coalesce(e.row_key, e.entity_id) AS subject_id,
       CASE WHEN e.operation = 'event' AND e.action = 'request' AND e.entity_type = 'endpoint'
            THEN pg_catalog.concat_ws(': ', pg_catalog.concat_ws(' ', e.context #>> '{request,method}', e.entity_id,
                                                                  e.context #>> '{request,status_code}'), e.description)
            WHEN e.description IS NOT NULL THEN e.description
            WHEN e.operation = 'update' THEN 'changed ' || pg_catalog.array_to_string(e.changed_columns, ', ')
            ELSE e.entity_name END AS summary,
       e.reason, e.tenant_id, e.session_id, e.request_id, e.process_id, e.client_addr,
       e.context
FROM audit.audit_events e;
COMMENT ON VIEW audit.activity IS 'Every event in a line: who, what, about what, why. For administrators and auditors; row values are in audit.audit_events';
COMMENT ON COLUMN audit.activity.event_id IS 'The event';
COMMENT ON COLUMN audit.activity.occurred_at IS 'Start of the transaction';
COMMENT ON COLUMN audit.activity.app_user_id IS 'The application''s user, as the application says; NULL: the system itself';
COMMENT ON COLUMN audit.activity.session_user_name IS 'The role that was connected';
COMMENT ON COLUMN audit.activity.effective_role IS 'The role whose rights were used';
COMMENT ON COLUMN audit.activity.operation IS 'What kind of event';
COMMENT ON COLUMN audit.activity.category IS 'Application events: the category';
COMMENT ON COLUMN audit.activity.severity IS 'Application events: the severity';
COMMENT ON COLUMN audit.activity.action IS 'Application events, DDL and acts of pg_attest: what was done';
COMMENT ON COLUMN audit.activity.subject IS 'The table, or the type of the entity, that it is about';
COMMENT ON COLUMN audit.activity.subject_id IS 'The row''s key, or the entity''s id';
COMMENT ON COLUMN audit.activity.summary IS 'The request and its error, else the description, the changed columns, the entity''s name';
COMMENT ON COLUMN audit.activity.reason IS 'Why';
COMMENT ON COLUMN audit.activity.tenant_id IS 'The tenant';
COMMENT ON COLUMN audit.activity.session_id IS 'The application''s session';
COMMENT ON COLUMN audit.activity.request_id IS 'The request';
COMMENT ON COLUMN audit.activity.process_id IS 'The process';
COMMENT ON COLUMN audit.activity.client_addr IS 'Address of the database connection';
COMMENT ON COLUMN audit.activity.context IS 'Metadata, request, and whatever else';

CREATE FUNCTION audit.recent_activity(n integer DEFAULT 50) RETURNS SETOF audit.activity
LANGUAGE plpgsql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF n IS NULL OR n NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'n is out of range'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(n::text, 'null')),
                  HINT = 'It is the number of events, 1 to 1000; audit.events pages through all of them.';
    END IF;
    RETURN QUERY SELECT a.* FROM audit.activity a ORDER BY a.event_id DESC LIMIT n;
END
$$;
COMMENT ON FUNCTION audit.recent_activity IS 'The last n events, newest first, as audit.activity shows them';

-- Read with the owner's rights: no right on the log is needed. The barrier keeps a caller's functions from seeing other rows.
CREATE VIEW audit.my_activity WITH (security_barrier) AS
SELECT a.event_id, a.occurred_at, a.operation, a.category, a.severity, a.action, a.subject, a.subject_id, a.summary, a.reason,
       a.tenant_id, a.session_id, a.request_id
FROM (SELECT nullif(pg_catalog.current_setting('audit.app_user_id', true), '')) AS me (app_user_id)
CROSS JOIN LATERAL (
    -- Where the summaries say that the user's events are, and behind them. One after the other: none is worth reading the whole log.
    SELECT id AS first_id, id AS last_id, r.occurred_from, r.occurred_to
    FROM audit.range_values v JOIN audit.event_ranges r ON r.last_id = v.last_id CROSS JOIN LATERAL pg_catalog.unnest(v.ids) AS id
    WHERE v.filter = 'app_user_id' AND v.value = me.app_user_id
    UNION ALL
    SELECT r.first_id, r.last_id, r.occurred_from, r.occurred_to
    FROM audit.range_values v JOIN audit.event_ranges r ON r.last_id = v.last_id
    WHERE v.filter = 'app_user_id' AND v.value = me.app_user_id AND v.ids IS NULL
    UNION ALL
    SELECT coalesce(pg_catalog.max(r.last_id) + 1, -9223372036854775808), 9223372036854775807, '-infinity', 'infinity'
    FROM audit.event_ranges r) AS part
CROSS JOIN LATERAL (
    SELECT a.* FROM audit.activity a
    WHERE a.event_id >= part.first_id AND a.event_id <= part.last_id
      AND a.occurred_at >= part.occurred_from AND a.occurred_at <= part.occurred_to AND a.app_user_id = me.app_user_id
    OFFSET 0) AS a;
COMMENT ON VIEW audit.my_activity IS 'What the application user of the context (audit.app_user_id) did; nothing where none is set. The application sets it: the view separates its users as far as the application can be trusted';
COMMENT ON COLUMN audit.my_activity.event_id IS 'The event';
COMMENT ON COLUMN audit.my_activity.occurred_at IS 'Start of the transaction';
COMMENT ON COLUMN audit.my_activity.operation IS 'What kind of event';
COMMENT ON COLUMN audit.my_activity.category IS 'Application events: the category';
COMMENT ON COLUMN audit.my_activity.severity IS 'Application events: the severity';
COMMENT ON COLUMN audit.my_activity.action IS 'What was done';
COMMENT ON COLUMN audit.my_activity.subject IS 'The table, or the type of the entity, that it is about';
COMMENT ON COLUMN audit.my_activity.subject_id IS 'The row''s key, or the entity''s id';
COMMENT ON COLUMN audit.my_activity.summary IS 'The request and its error, else the description, the changed columns, the entity''s name';
COMMENT ON COLUMN audit.my_activity.reason IS 'Why';
COMMENT ON COLUMN audit.my_activity.tenant_id IS 'The tenant';
COMMENT ON COLUMN audit.my_activity.session_id IS 'The application''s session';
COMMENT ON COLUMN audit.my_activity.request_id IS 'The request';

-- With the owner's rights, as the view; its arguments are numbers, and whose events it shows is the context's alone.
CREATE FUNCTION audit.my_events(before_id bigint DEFAULT NULL, page_size integer DEFAULT 50) RETURNS SETOF audit.my_activity
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    me CONSTANT text := nullif(current_setting('audit.app_user_id', true), '');
BEGIN
    -- audit.events takes NULL for everybody.
    IF me IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT a.event_id, a.occurred_at, a.operation, a.category, a.severity, a.action, a.subject, a.subject_id, a.summary, a.reason,
               a.tenant_id, a.session_id, a.request_id
        FROM audit.events(app_user_id => me, before_id => before_id, page_size => page_size) e
        JOIN audit.activity a ON a.event_id = e.event_id AND a.occurred_at = e.occurred_at
        ORDER BY a.event_id DESC;
END
$$;
COMMENT ON FUNCTION audit.my_events IS 'A page of audit.my_activity, newest first: what the application user of the context did before before_id, the last page''s lowest event_id; nothing where none is set';

CREATE VIEW audit.record_version AS
SELECT e.event_id AS id,
       CASE WHEN e.new_values IS NOT NULL THEN pg_catalog.md5(e.table_oid::text || ' ' || e.row_key)::uuid END AS record_id,
       CASE WHEN e.old_values IS NOT NULL
            THEN pg_catalog.md5(e.table_oid::text || ' ' || coalesce(e.old_row_key, e.row_key))::uuid END AS old_record_id,
       pg_catalog.upper(e.operation::text) AS op,
       e.occurred_at AS ts,
       e.table_oid,
       e.schema_name::name AS table_schema,
       e.table_name::name AS table_name,
       e.new_values AS record,
       e.old_values AS old_record
FROM audit.audit_events e
WHERE e.operation IN ('insert', 'update', 'delete', 'truncate', 'snapshot');
COMMENT ON VIEW audit.record_version IS 'Row changes as supa_audit''s table of this name has them';
COMMENT ON COLUMN audit.record_version.id IS 'event_id';
COMMENT ON COLUMN audit.record_version.record_id IS 'Stands for table and key of the new row: equal for equal keys of one table; another uuid than supa_audit''s';
COMMENT ON COLUMN audit.record_version.old_record_id IS 'The same of the old row';
COMMENT ON COLUMN audit.record_version.op IS 'INSERT, UPDATE, DELETE, TRUNCATE; SNAPSHOT for rows found when the table was attached';
COMMENT ON COLUMN audit.record_version.ts IS 'occurred_at';
COMMENT ON COLUMN audit.record_version.table_oid IS 'The table';
COMMENT ON COLUMN audit.record_version.table_schema IS 'Its schema';
COMMENT ON COLUMN audit.record_version.table_name IS 'Its name';
COMMENT ON COLUMN audit.record_version.record IS 'The row after';
COMMENT ON COLUMN audit.record_version.old_record IS 'The row before';

CREATE VIEW audit.logged_actions AS
SELECT e.event_id,
       e.schema_name,
       e.table_name,
       e.table_oid AS relid,
       e.session_user_name,
       e.occurred_at AS action_tstamp_tx,
       e.captured_at AS action_tstamp_stm,
       e.captured_at AS action_tstamp_clk,
       e.xact_id::text::bigint AS transaction_id,
       e.application_name,
       e.client_addr,
       NULL::integer AS client_port,
       NULL::text AS client_query,
       pg_catalog.upper(pg_catalog."left"(e.operation::text, 1)) AS action,
       coalesce(e.old_values, e.new_values) AS row_data,
       CASE WHEN e.operation = 'update' THEN (
            SELECT pg_catalog.jsonb_object_agg(changed.name, e.new_values -> changed.name)
            FROM pg_catalog.unnest(e.changed_columns) AS changed (name) WHERE e.new_values ? changed.name) END AS changed_fields,
       e.operation = 'truncate' AS statement_only
FROM audit.audit_events e
WHERE e.operation IN ('insert', 'update', 'delete', 'truncate');
COMMENT ON VIEW audit.logged_actions IS 'Row changes as audit-trigger''s table of this name has them, with jsonb in place of hstore';
COMMENT ON COLUMN audit.logged_actions.event_id IS 'The event';
COMMENT ON COLUMN audit.logged_actions.schema_name IS 'Schema of the table';
COMMENT ON COLUMN audit.logged_actions.table_name IS 'Name of the table';
COMMENT ON COLUMN audit.logged_actions.relid IS 'OID of the table';
COMMENT ON COLUMN audit.logged_actions.session_user_name IS 'session_user';
COMMENT ON COLUMN audit.logged_actions.action_tstamp_tx IS 'Start of the transaction';
COMMENT ON COLUMN audit.logged_actions.action_tstamp_stm IS 'When the statement''s changes were captured; its start is not kept';
COMMENT ON COLUMN audit.logged_actions.action_tstamp_clk IS 'When the statement''s changes were captured';
COMMENT ON COLUMN audit.logged_actions.transaction_id IS 'xact_id';
COMMENT ON COLUMN audit.logged_actions.application_name IS 'The connection''s application_name';
COMMENT ON COLUMN audit.logged_actions.client_addr IS 'The client''s address';
COMMENT ON COLUMN audit.logged_actions.client_port IS 'NULL: not kept';
COMMENT ON COLUMN audit.logged_actions.client_query IS 'NULL: not kept, for statements hold secrets in literals';
COMMENT ON COLUMN audit.logged_actions.action IS 'I, U, D, T';
COMMENT ON COLUMN audit.logged_actions.row_data IS 'INSERT: the new row; UPDATE and DELETE: the old one';
COMMENT ON COLUMN audit.logged_actions.changed_fields IS 'UPDATE: the new values of the changed columns';
COMMENT ON COLUMN audit.logged_actions.statement_only IS 'Whether the event is of a statement without rows: TRUNCATE';
