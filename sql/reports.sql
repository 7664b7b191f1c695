-- Reports for auditors, and the record of their reviews. Periods are since (included) to until (not included).

CREATE FUNCTION audit.check_period(since timestamptz, until timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION 'a report needs a period'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'since or until is null.',
                  HINT = 'For example since => date_trunc(''month'', now()), until => now(); ''-infinity'' and ''infinity'' are taken.';
    ELSIF since >= until THEN
        RAISE EXCEPTION 'the period is empty'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It begins %s and ends before %s.', since, until),
                  HINT = 'since must lie before until.';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION audit.check_period IS 'Refuses a period that is none; true for others';

CREATE FUNCTION audit.report_changes(since timestamptz, until timestamptz, group_by text DEFAULT 'table')
RETURNS TABLE (grouped_by text, inserts bigint, updates bigint, deletes bigint, truncates bigint, actors bigint, first_at timestamptz, last_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM audit.check_period(since, until);
    IF group_by IS NULL OR group_by NOT IN ('user', 'table', 'day') THEN
        RAISE EXCEPTION 'group_by cannot be %', coalesce(quote_literal(group_by), 'null')
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'Changes are counted by one thing at a time.',
                  HINT = 'It is one of user, table, day.';
    END IF;
    RETURN QUERY
        SELECT grouped.name, count(*) FILTER (WHERE e.operation = 'insert'), count(*) FILTER (WHERE e.operation = 'update'),
               count(*) FILTER (WHERE e.operation = 'delete'), count(*) FILTER (WHERE e.operation = 'truncate'),
               count(DISTINCT coalesce(e.app_user_id, e.session_user_name)), min(e.occurred_at), max(e.occurred_at)
        FROM audit.events_between(since, until) e
        CROSS JOIN LATERAL (SELECT CASE group_by
            WHEN 'user' THEN coalesce(e.app_user_id, e.session_user_name)
            WHEN 'table' THEN format('%I.%I', e.schema_name, e.table_name)
            ELSE to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') END) AS grouped (name)
        WHERE e.operation IN ('insert', 'update', 'delete', 'truncate')
        GROUP BY grouped.name ORDER BY grouped.name COLLATE "C";
END
$$;
COMMENT ON FUNCTION audit.report_changes IS 'Row changes of a period, counted by user (the application''s, else the session''s), table or day (UTC)';

CREATE FUNCTION audit.report_reasons(since timestamptz, until timestamptz)
RETURNS TABLE (table_name text, actor text, changes bigint, without_reason bigint, last_event_id bigint, last_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM audit.check_period(since, until);
    RETURN QUERY
        SELECT format('%I.%I', e.schema_name, e.table_name), coalesce(e.app_user_id, e.session_user_name), count(*),
               count(*) FILTER (WHERE has.no_reason), max(e.event_id) FILTER (WHERE has.no_reason), max(e.occurred_at) FILTER (WHERE has.no_reason)
        FROM audit.events_between(since, until) e
        CROSS JOIN LATERAL (SELECT coalesce(btrim(e.reason), '') = '') AS has (no_reason)
        WHERE e.operation IN ('insert', 'update', 'delete', 'truncate', 'ddl')
        GROUP BY 1, 2 HAVING bool_or(has.no_reason) ORDER BY 4 DESC, 1, 2;
END
$$;
COMMENT ON FUNCTION audit.report_reasons IS 'Who changed which table without saying why, and how often; the last such change';

CREATE FUNCTION audit.report_privileged(since timestamptz, until timestamptz)
RETURNS TABLE (session_user_name text, effective_role text, table_name text, by_superuser boolean, by_owner boolean, outside_application boolean,
               changes bigint, first_at timestamptz, last_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM audit.check_period(since, until);
    RETURN QUERY
        SELECT g.session_user_name, g.effective_role, g.table_name, g.by_superuser, g.by_owner, g.outside_application, g.changes, g.first_at, g.last_at
        FROM (
            SELECT e.session_user_name, e.effective_role, format('%I.%I', e.schema_name, e.table_name) AS table_name,
                   e.app_user_id IS NULL AS outside_application,
                   EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN (e.session_user_name, e.effective_role) AND r.rolsuper) AS by_superuser,
                   EXISTS (SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = e.table_oid AND r.rolname = e.effective_role) AS by_owner,
                   count(*) AS changes, min(e.occurred_at) AS first_at, max(e.occurred_at) AS last_at
            FROM audit.events_between(since, until) e
            WHERE e.operation IN ('insert', 'update', 'delete', 'truncate', 'ddl')
            GROUP BY e.session_user_name, e.effective_role, e.schema_name, e.table_name, e.table_oid, e.app_user_id IS NULL
        ) AS g
        WHERE g.by_superuser OR g.by_owner OR g.outside_application
        ORDER BY g.session_user_name, g.effective_role, g.table_name, g.outside_application;
END
$$;
COMMENT ON FUNCTION audit.report_privileged IS 'Changes by superusers, by owners of the table, and outside the application (without an application user). Roles are judged by what they are now';

CREATE FUNCTION audit.report_ddl(since timestamptz, until timestamptz)
RETURNS TABLE (event_id bigint, occurred_at timestamptz, session_user_name text, app_user_id text, action text, table_name text, command text, reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM audit.check_period(since, until);
    RETURN QUERY
        SELECT e.event_id, e.occurred_at, e.session_user_name, e.app_user_id, e.action,
               CASE WHEN e.table_name IS NOT NULL THEN format('%I.%I', e.schema_name, e.table_name) END,
               e.context ->> 'command', e.reason
        FROM audit.events_having('{"operation": ["ddl", "system"]}', since, until) e
        WHERE e.operation IN ('ddl', 'system') AND e.action IS NOT NULL
        ORDER BY e.event_id;
END
$$;
COMMENT ON FUNCTION audit.report_ddl IS 'DDL on attached tables, and what was done to the audit itself: attached, detached, settings changed, reviewed';

CREATE FUNCTION audit.report_access_health()
RETURNS TABLE (item text, subject text, ok boolean, detail text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'health: ' || s.item, s.value, s.ok, s.hint
    FROM audit.status() s
    WHERE s.item IN ('tables with broken triggers', 'disabled event triggers', 'broken guards of the log')
    UNION ALL
    SELECT * FROM (
        SELECT 'can do everything', r.rolname::text, NULL::boolean, 'superuser: not stopped by guards, but found out by checkpoints kept elsewhere'
        FROM pg_roles r WHERE r.rolsuper ORDER BY r.rolname) AS superusers
    UNION ALL
    SELECT * FROM (
        SELECT 'can read the log', r.rolname::text, NULL::boolean, CASE WHEN r.rolcanlogin THEN 'can log in' ELSE 'cannot log in' END
        FROM pg_roles r
        WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND has_table_privilege(r.oid, 'audit.audit_events', 'SELECT') ORDER BY r.rolname) AS readers
    UNION ALL
    SELECT * FROM (
        SELECT 'could tamper with the log', r.rolname::text, false,
               format('has %s on %s: REVOKE it', string_agg(DISTINCT p.privilege, ', '), string_agg(DISTINCT c.oid::regclass::text, ', '))
        FROM pg_roles r
        CROSS JOIN pg_class c
        CROSS JOIN unnest('{INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER}'::text[]) AS p (privilege)
        WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p')
          AND has_table_privilege(r.oid, c.oid, p.privilege)
        GROUP BY r.rolname ORDER BY r.rolname) AS tamperers
    UNION ALL
    SELECT * FROM (
        SELECT 'owns part of the audit', r.rolname::text, false, string_agg(owned.name, ', ' ORDER BY owned.name)
        FROM (SELECT c.relowner, c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'audit'::regnamespace
              UNION ALL
              SELECT p.proowner, p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'audit'::regnamespace) AS owned (owner, name)
        JOIN pg_roles r ON r.oid = owned.owner
        WHERE NOT r.rolsuper
        GROUP BY r.rolname ORDER BY r.rolname) AS owners
    UNION ALL
    SELECT * FROM (
        SELECT 'can switch off the audit of its tables', r.rolname::text, NULL::boolean,
               'owns ' || string_agg(a.relation::text, ', ' ORDER BY a.relation::text) || '; what it does is recorded'
        FROM audit.attachment a JOIN pg_class c ON c.oid = a.relation JOIN pg_roles r ON r.oid = c.relowner
        WHERE NOT r.rolsuper
        GROUP BY r.rolname ORDER BY r.rolname) AS table_owners
    UNION ALL
    SELECT * FROM (
        SELECT 'is open to everyone', p.oid::regprocedure::text, false, 'REVOKE EXECUTE … FROM PUBLIC'
        FROM pg_proc p
        WHERE p.pronamespace = 'audit'::regnamespace AND p.proname NOT IN ('set_context', 'context')
          AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
                      WHERE acl.grantee = 0 AND acl.privilege_type = 'EXECUTE') ORDER BY 2) AS open_functions
$$;
COMMENT ON FUNCTION audit.report_access_health IS 'Is the audit on, who can read the log, who could tamper with it. ok false: something to be put right; NULL: for an auditor to judge';

CREATE FUNCTION audit.sign_off_with(review jsonb) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sign_off_with_wrapper';
COMMENT ON FUNCTION audit.sign_off_with IS 'What audit.sign_off calls, with its arguments as one JSON object';

CREATE FUNCTION audit.sign_off(
    since timestamptz, until timestamptz, outcome text, reviewer text DEFAULT NULL, scope regclass[] DEFAULT NULL, remarks text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit.sign_off_with(jsonb_build_object('since', since, 'until', until, 'outcome', outcome, 'reviewer', reviewer,
        'scope', ARRAY(SELECT one::oid::bigint FROM unnest(scope) AS one), 'remarks', remarks))
    WHERE audit.check_period(since, until)
$$;
COMMENT ON FUNCTION audit.sign_off IS 'Records the review of a period''s changes, of the tables in scope or of all; returns its event_id. outcome: approved, approved with findings, rejected. reviewer: the context''s app_user_id or the session''s user unless said; refused where nobody else changed anything in the period';

CREATE VIEW audit.sign_offs AS
SELECT e.event_id,
       e.occurred_at AS signed_at,
       (e.context #>> '{review,since}')::timestamptz AS since,
       (e.context #>> '{review,until}')::timestamptz AS until,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(e.context #> '{review,scope}')) AS scope,
       e.context #>> '{review,reviewer}' AS reviewer,
       e.context #>> '{review,outcome}' AS outcome,
       e.description AS remarks,
       (e.context #>> '{review,changes}')::bigint AS changes,
       (e.context #>> '{review,actors}')::bigint AS actors,
       (e.context #>> '{review,last_event_id}')::bigint AS last_event_id,
       e.session_user_name,
       e.app_user_id
FROM audit.audit_events e
WHERE e.operation = 'system' AND e.action = 'sign off';
COMMENT ON VIEW audit.sign_offs IS 'The reviews that were signed';
COMMENT ON COLUMN audit.sign_offs.event_id IS 'The event of the review';
COMMENT ON COLUMN audit.sign_offs.signed_at IS 'When it was signed';
COMMENT ON COLUMN audit.sign_offs.since IS 'Begin of the period, included';
COMMENT ON COLUMN audit.sign_offs.until IS 'End of the period, not included';
COMMENT ON COLUMN audit.sign_offs.scope IS 'The tables reviewed, as they were named then; none: all';
COMMENT ON COLUMN audit.sign_offs.reviewer IS 'Who reviewed';
COMMENT ON COLUMN audit.sign_offs.outcome IS 'approved, approved with findings, or rejected';
COMMENT ON COLUMN audit.sign_offs.remarks IS 'What the reviewer remarks';
COMMENT ON COLUMN audit.sign_offs.changes IS 'How many changes of the period and scope the log had then';
COMMENT ON COLUMN audit.sign_offs.actors IS 'How many different actors made them';
COMMENT ON COLUMN audit.sign_offs.last_event_id IS 'The highest event_id among them: later ones came after the review';
COMMENT ON COLUMN audit.sign_offs.session_user_name IS 'The role that was connected';
COMMENT ON COLUMN audit.sign_offs.app_user_id IS 'The application''s user who signed';
