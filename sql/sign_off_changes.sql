-- What src/activity/sign_off.rs asks of the log. $1 since, $2 until, $3 OIDs of tables as a JSON array, $4 the reviewer, $5 who calls.
SELECT pg_catalog.count(*),
       pg_catalog.count(DISTINCT coalesce(e.app_user_id, e.session_user_name)),
       pg_catalog.max(e.event_id),
       pg_catalog.count(*) FILTER (WHERE coalesce(e.app_user_id, e.session_user_name) <> $4),
       pg_catalog.count(*) FILTER (WHERE coalesce(e.app_user_id, e.session_user_name) <> $5),
       $2::pg_catalog.timestamptz <= pg_catalog.clock_timestamp(),
       (SELECT pg_catalog.jsonb_agg(pg_catalog.format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::pg_catalog.jsonb)::pg_catalog.oid)))
FROM audit.events_between($1::pg_catalog.timestamptz, $2::pg_catalog.timestamptz) e
WHERE e.operation IN ('insert', 'update', 'delete', 'truncate', 'ddl')
  AND ($3 = '[]' OR e.table_oid = ANY (ARRAY(SELECT pg_catalog.jsonb_array_elements_text($3::pg_catalog.jsonb)::pg_catalog.oid)));
