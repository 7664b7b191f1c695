-- What changed between two moments, event by event or net; the same net changes are what audit.revert undoes.

-- A touch is what an event did under one key: a change of the key leaves one and arrives at another. A segment is a row's time under a key,
-- a chain its segments under the keys that it had. With capture => 'diff' images are parts, so they are folded: before from the last to the first, after
-- from the first to the last.
CREATE FUNCTION audit.net_query(target regclass, condition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($q$
        WITH RECURSIVE event AS MATERIALIZED (
            SELECT e.* FROM audit.audit_events e WHERE e.operation IN ('insert', 'update', 'delete') AND (%2$s)
        ), era AS MATERIALIZED (
            SELECT t.oid AS target, x.*
            FROM (SELECT DISTINCT coalesce(%1$L, e.table_oid) AS oid FROM event e) t
            CROSS JOIN LATERAL audit.table_eras(t.oid) x
            WHERE EXISTS (SELECT FROM pg_class c WHERE c.oid = t.oid)
        ), named AS (
            SELECT e.*, coalesce(r.target, e.table_oid) AS target,
                   CASE WHEN r.names IS NULL THEN e.old_values ELSE audit.present_image(e.old_values, r.names, '{}') END AS old_image,
                   CASE WHEN r.names IS NULL THEN e.new_values ELSE audit.present_image(e.new_values, r.names, '{}') END AS new_image
            FROM event e
            LEFT JOIN era r ON r.table_oid = e.table_oid AND r.schema_name = e.schema_name AND r.table_name = e.table_name
                           AND r.since <= e.captured_at AND e.captured_at < r.until
            WHERE %1$L IS NULL OR r.target IS NOT NULL
        ), touch AS (
            SELECT n.*, n.row_key AS key, CASE WHEN n.old_row_key IS NULL THEN n.operation::text ELSE 'arrive' END AS kind,
                   CASE WHEN n.old_row_key IS NULL THEN n.old_image END AS old, n.new_image AS new
            FROM named n
            UNION ALL
            SELECT n.*, n.old_row_key, 'leave', n.old_image, NULL FROM named n WHERE n.old_row_key IS NOT NULL
        ), ordered AS (
            -- A row without a key is known by its event alone.
            SELECT o.*, row_number() OVER (PARTITION BY o.target, o.row ORDER BY o.first_captured, o.statement_id, o.kind <> 'leave', o.event_id) AS place
            FROM (SELECT t.*, coalesce(t.key, t.event_id::text) AS row,
                         min(t.captured_at) OVER (PARTITION BY t.target, coalesce(t.key, t.event_id::text), t.xact_id, t.occurred_at) AS first_captured FROM touch t) o
        ), cut AS (
            SELECT o.*, count(*) FILTER (WHERE o.kind = 'arrive') OVER w + count(*) FILTER (WHERE o.kind = 'leave') OVER w - (o.kind = 'leave')::int AS segment
            FROM ordered o WINDOW w AS (PARTITION BY o.target, o.row ORDER BY o.place)
        ), counted AS (
            SELECT c.*, count(*) FILTER (WHERE c.kind = 'insert') OVER w AS inserts_so_far,
                   count(*) FILTER (WHERE c.kind = 'delete') OVER (PARTITION BY c.target, c.row, c.segment ORDER BY c.place DESC) AS deletes_to_come
            FROM cut c WINDOW w AS (PARTITION BY c.target, c.row, c.segment ORDER BY c.place)
        ), segment AS MATERIALIZED (
            SELECT c.target, c.row, c.segment, min(c.key) AS key,
                   (array_agg(c.kind ORDER BY c.place))[1] AS first_kind, (array_agg(c.kind ORDER BY c.place DESC))[1] AS last_kind,
                   audit.merge_images(c.old ORDER BY c.place DESC) FILTER (WHERE c.old IS NOT NULL AND c.inserts_so_far = 0) AS before,
                   audit.merge_images(c.new ORDER BY c.place) FILTER (WHERE c.new IS NOT NULL AND c.deletes_to_come = 0) AS after,
                   min(c.event_id) FILTER (WHERE c.kind = 'arrive') AS arrived_by, min(c.event_id) FILTER (WHERE c.kind = 'leave') AS left_by,
                   -- A masked value that changed looks the same.
                   bool_or(EXISTS (SELECT FROM unnest(c.changed_columns) n WHERE c.new_values -> n = '"***"' AND c.old_values -> n = '"***"')) AS is_masked_change,
                   count(*) FILTER (WHERE c.kind <> 'leave') AS events,
                   (array_agg(c.event_id ORDER BY c.place DESC))[1] AS last_event, max(c.first_captured) AS last_captured,
                   (array_agg(c.statement_id ORDER BY c.place DESC))[1] AS last_statement,
                   (array_agg(c.schema_name ORDER BY c.place DESC))[1] AS schema_name, (array_agg(c.table_name ORDER BY c.place DESC))[1] AS table_name,
                   array_agg(DISTINCT coalesce(c.app_user_id, c.session_user_name)) AS actors,
                   array_agg(DISTINCT c.reason) FILTER (WHERE c.reason IS NOT NULL) AS reasons,
                   array_agg(DISTINCT c.request_id) FILTER (WHERE c.request_id IS NOT NULL) AS request_ids
            FROM counted c GROUP BY c.target, c.row, c.segment
        ), chain AS (
            SELECT s.*, s.row AS root, s.segment AS root_segment, s.key AS key_before, 0 AS depth FROM segment s WHERE s.first_kind <> 'arrive'
            UNION ALL
            SELECT n.target, n.row, n.segment, n.key, c.first_kind, n.last_kind,
                   coalesce(n.before || c.before, n.before, c.before), coalesce(c.after || n.after, n.after, c.after),
                   n.arrived_by, n.left_by, c.is_masked_change OR n.is_masked_change, c.events + n.events, n.last_event, n.last_captured, n.last_statement, n.schema_name, n.table_name,
                   ARRAY(SELECT DISTINCT unnest(c.actors || n.actors)), NULLIF(ARRAY(SELECT DISTINCT unnest(c.reasons || n.reasons)), '{}'), NULLIF(ARRAY(SELECT DISTINCT unnest(c.request_ids || n.request_ids)), '{}'),
                   c.root, c.root_segment, c.key_before, c.depth + 1
            FROM chain c JOIN segment n ON n.target = c.target AND n.arrived_by = c.left_by
        )
        SELECT d.target, d.schema_name, d.table_name, d.key_before, d.key AS key_after,
               d.first_kind <> 'insert' AS was_there, d.last_kind <> 'delete' AS is_there,
               CASE WHEN d.first_kind <> 'insert' THEN d.before END AS before, CASE WHEN d.last_kind <> 'delete' THEN d.after END AS after,
               d.events, d.last_event, d.actors, d.reasons, d.request_ids,
               row_number() OVER (ORDER BY d.last_captured, d.last_statement, d.last_event) AS place
        FROM (SELECT DISTINCT ON (c.target, c.root, c.root_segment) c.* FROM chain c ORDER BY c.target, c.root, c.root_segment, c.depth DESC) d
        WHERE (d.first_kind <> 'insert' OR d.last_kind <> 'delete')
          AND NOT (d.first_kind <> 'insert' AND d.last_kind <> 'delete' AND d.before = d.after AND NOT d.is_masked_change)
        $q$, target::oid, condition)
$$;
COMMENT ON FUNCTION audit.net_query IS 'A SELECT of what the events that meet a condition changed net, row by row: the image before the first and after the last of them, under the columns'' present names';

CREATE FUNCTION audit.difference(before jsonb, after jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(k.key, jsonb_build_object('old', before -> k.key, 'new', after -> k.key)), '{}')
    FROM (SELECT jsonb_object_keys(coalesce(before, '{}') || coalesce(after, '{}'))) k (key)
    WHERE coalesce(before -> k.key, 'null') <> coalesce(after -> k.key, 'null')
$$;
COMMENT ON FUNCTION audit.difference IS 'The columns in which two images differ, as {"column": {"old": …, "new": …}}';

CREATE FUNCTION audit.changes_between(since timestamptz, until timestamptz, target regclass DEFAULT NULL, net boolean DEFAULT true)
RETURNS TABLE (
    schema_name text,
    table_name text,
    row_key text,
    old_row_key text,
    change text,
    changes jsonb,
    actors text[],
    reasons text[],
    request_ids text[],
    events bigint,
    event_id bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_variable
DECLARE
    oids oid[] := ARRAY(SELECT DISTINCT x.table_oid FROM audit.table_eras(target) x WHERE target IS NOT NULL);
    period text;
BEGIN
    IF since IS NULL OR until IS NULL THEN
        RAISE EXCEPTION 'since and until must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'The call does not say which period it is about.',
                  HINT = 'For example audit.changes_between(now() - interval ''1 hour'', now()).';
    END IF;
    -- A transaction may have begun long before: the summaries tell where that is which was captured then.
    period := format('e.captured_at > %L AND e.captured_at <= %L AND e.occurred_at <= %L AND ', since, until, until)
              || audit.ids_condition(ARRAY(SELECT r.last_id FROM audit.event_ranges r WHERE r.captured_to > since AND r.captured_from <= until))
              || CASE WHEN target IS NULL THEN '' ELSE format(' AND e.table_oid = ANY (%L)', oids) END;
    IF net THEN
        RETURN QUERY EXECUTE format($q$
            SELECT n.schema_name, n.table_name, coalesce(n.key_after, n.key_before), CASE WHEN n.key_before <> n.key_after THEN n.key_before END,
                   CASE WHEN NOT n.was_there THEN 'insert' WHEN NOT n.is_there THEN 'delete' ELSE 'update' END,
                   audit.difference(n.before, n.after), n.actors, n.reasons, n.request_ids, n.events, n.last_event
            FROM (%s) n ORDER BY n.place
            $q$, audit.net_query(target, period));
    ELSE
        RETURN QUERY EXECUTE format($q$
            SELECT e.schema_name, e.table_name, e.row_key, e.old_row_key, e.operation::text,
                   audit.changes_of(e.operation, e.old_values, e.new_values, e.changed_columns, NULL), ARRAY[coalesce(e.app_user_id, e.session_user_name)],
                   CASE WHEN e.reason IS NOT NULL THEN ARRAY[e.reason] END, CASE WHEN e.request_id IS NOT NULL THEN ARRAY[e.request_id] END, 1::bigint, e.event_id
            FROM audit.audit_events e
            WHERE e.operation IN ('insert', 'update', 'delete', 'truncate') AND %s
            ORDER BY min(e.captured_at) OVER (PARTITION BY e.xact_id, e.occurred_at), e.xact_id, e.statement_id, e.event_id
            $q$, period);
    END IF;
END
$$;
COMMENT ON FUNCTION audit.changes_between IS 'What changed after one moment and up to another, of a table or of all: net per row (a row that came and went is left out), or with net => false event by event under the names of then. A TRUNCATE shows event by event alone';
