-- Who set what a row holds now.
SELECT column_name::text, coalesce(value #>> '{}', ''), coalesce(app_user_id, session_user_name), coalesce(process_id, ''), coalesce(reason, '')
FROM audit.blame('drug_requests', '1')
