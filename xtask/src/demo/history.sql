-- One row's history, oldest first, as a person wants to read it.
SELECT to_char(captured_at, 'HH24:MI:SS.MS') AS "when",
       coalesce(app_user_id, session_user_name) AS who,
       coalesce(request_id, '') || E'\n' || coalesce(process_id, '') AS request,
       coalesce(reason, '') AS why,
       CASE operation::text
           WHEN 'insert' THEN (
               SELECT 'created' || string_agg(E'\n' || key || ': ' || value, '')
               FROM jsonb_each_text(new_values)
               WHERE value IS NOT NULL)
           WHEN 'update' THEN (
               SELECT string_agg(
                   col || ': ' || coalesce(old_values ->> col, '(none)')
                       || ' → ' || coalesce(new_values ->> col, '(none)'), E'\n')
               FROM unnest(changed_columns) AS col)
           ELSE operation::text || 'd'
       END AS what
FROM audit.audit_events
WHERE table_oid = 'drug_requests'::regclass AND row_key = '1'
ORDER BY xact_id, statement_id, event_id
