-- One row's history, oldest first, as a person wants to read it.
SELECT to_char(captured_at, 'HH24:MI:SS.MS') AS "when",
       coalesce(app_user_id, session_user_name) AS who,
       request_id || E'\n' || array_to_string(process_path, ' › ') AS request,
       coalesce(reason, '') AS why,
       CASE operation::text
           WHEN 'insert' THEN 'created'
               || (SELECT string_agg(E'\n' || key || ': ' || (value ->> 'new'), '') FROM jsonb_each(changes))
           WHEN 'update' THEN
               (SELECT string_agg(key || ': ' || coalesce(value ->> 'old', '(none)') || ' → ' || coalesce(value ->> 'new', '(none)'), E'\n') FROM jsonb_each(changes))
           ELSE operation::text || 'd'
       END AS what
FROM audit.row_lineage('drug_requests', '1')
ORDER BY version
