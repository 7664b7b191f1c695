-- The history of a row: its versions, across changes of its key, of the table's name and of its columns' names.

-- Order within a key: all that a transaction did to the row lies between its first change and its commit, for it held the row's lock; within it
-- the order of statements counts, and within a statement rows leave a key before others take it.
CREATE FUNCTION audit.key_events(target regclass, key text)
RETURNS TABLE (segment bigint, place bigint, event audit.audit_events, names jsonb)
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan  -- few events, where the planner expects many without a row key
SET enable_bitmapscan = on SET enable_indexscan = off SET effective_io_concurrency = 16  -- a bitmap scan asks the disk for all of them before it reads the first one
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH era AS MATERIALIZED (
        SELECT * FROM audit.table_eras(target)
    ), found AS MATERIALIZED (
        SELECT e FROM audit.audit_events e
        WHERE e.table_oid = ANY (ARRAY(SELECT table_oid FROM era)) AND e.row_key = key_events.key
        UNION ALL
        SELECT e FROM audit.audit_events e
        WHERE e.table_oid = ANY (ARRAY(SELECT table_oid FROM era)) AND e.old_row_key = key_events.key
        UNION ALL
        SELECT e FROM audit.audit_events e
        WHERE e.table_oid = ANY (ARRAY(SELECT table_oid FROM era)) AND e.row_key IS NULL AND e.operation = 'truncate'
    ), own AS (
        SELECT f.e, (f.e).*, era.names,
               (f.e).operation IN ('delete', 'truncate') OR coalesce((f.e).old_row_key = key_events.key, false) AS is_end,
               (f.e).operation = 'insert' OR coalesce((f.e).old_row_key <> key_events.key, false) AS is_start
        FROM found f
        JOIN era ON era.table_oid = (f.e).table_oid AND era.schema_name = (f.e).schema_name AND era.table_name = (f.e).table_name
                AND era.since <= (f.e).captured_at AND (f.e).captured_at < era.until
    ), ordered AS (
        SELECT o.*, row_number() OVER (ORDER BY o.first_captured, o.statement_id, o.is_end DESC, o.event_id) AS place
        FROM (SELECT own.*, min(own.captured_at) OVER (PARTITION BY own.xact_id, own.occurred_at) AS first_captured FROM own) o
    ), cut AS (
        SELECT o.*, coalesce(lag(o.is_end) OVER (ORDER BY o.place), true) AS after_end FROM ordered o
    ), numbered AS (
        SELECT c.*, count(*) FILTER (WHERE c.is_start OR c.after_end) OVER (ORDER BY c.place) AS segment FROM cut c
    )
    SELECT n.segment, n.place, n.e, n.names
    FROM numbered n
    -- A TRUNCATE that found no row with this key.
    WHERE NOT (n.operation = 'truncate' AND n.after_end)
    ORDER BY n.place;
END
$$;
COMMENT ON FUNCTION audit.key_events IS 'The events of the rows that had this key, in order; a segment is a row''s time under the key; names as in audit.table_eras';

CREATE FUNCTION audit.row_events(target regclass, row_key text)
RETURNS TABLE (life int, place int, event audit.audit_events, names jsonb)
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    asked record;
    part record;
    events audit.audit_events[];
    translations jsonb[];
    edge audit.audit_events;
    key text;
BEGIN
    IF target IS NULL OR row_events.row_key IS NULL THEN
        RAISE EXCEPTION 'target and row_key must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'The call does not say which row it is about.',
                  HINT = 'For example (''orders'', ''42''); the key of several columns is a row literal: ''(42,blue)''.';
    END IF;
    life := 0;
    FOR asked IN
        SELECT k.segment, array_agg(k.event ORDER BY k.place) AS events, array_agg(k.names ORDER BY k.place) AS names
        FROM audit.key_events(target, row_events.row_key) k GROUP BY k.segment ORDER BY k.segment
    LOOP
        life := life + 1;
        events := asked.events;
        translations := asked.names;
        -- Back through the keys that the row had before.
        key := row_events.row_key;
        LOOP
            edge := events[1];
            EXIT WHEN edge.old_row_key IS NULL OR edge.old_row_key = key;
            key := edge.old_row_key;
            SELECT * INTO part FROM audit.segment_beside(target, key, edge.event_id);
            EXIT WHEN part.events IS NULL;
            events := part.events || events;
            translations := part.translations || translations;
        END LOOP;
        -- And forth through those that it had later.
        key := row_events.row_key;
        LOOP
            edge := events[cardinality(events)];
            EXIT WHEN edge.old_row_key IS DISTINCT FROM key;
            key := edge.row_key;
            SELECT * INTO part FROM audit.segment_beside(target, key, edge.event_id);
            EXIT WHEN part.events IS NULL;
            events := events || part.events;
            translations := translations || part.translations;
        END LOOP;
        RETURN QUERY SELECT life, i, events[i], translations[i] FROM generate_subscripts(events, 1) AS i;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.row_events IS 'The events of the rows that ever had this key, under their earlier and later keys too; a life is one row''s, place its order in it';

CREATE FUNCTION audit.segment_beside(target regclass, key text, event_id bigint)
RETURNS TABLE (events audit.audit_events[], translations jsonb[])
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
    WITH found AS MATERIALIZED (SELECT * FROM audit.key_events(target, key))
    SELECT array_agg(f.event ORDER BY f.place), array_agg(f.names ORDER BY f.place)
    FROM found f
    WHERE f.segment = (SELECT e.segment FROM found e WHERE (e.event).event_id = $3) AND (f.event).event_id <> $3
$$;
COMMENT ON FUNCTION audit.segment_beside IS 'A row''s time under a key that began or ended with this event, without the event';

-- PL/pgSQL keeps its plan: a version of a row costs microseconds.
CREATE FUNCTION audit.changes_of(operation audit.operation, old_values jsonb, new_values jsonb, changed_columns text[], names jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN CASE WHEN operation <> 'truncate' THEN
        (SELECT coalesce(jsonb_object_agg(coalesce(names ->> c.name, CASE WHEN names ? c.name THEN c.name || ' (dropped)' ELSE c.name END),
                                          jsonb_build_object('old', old_values -> c.name, 'new', new_values -> c.name)), '{}')
         FROM (SELECT unnest(changed_columns)
               UNION ALL
               SELECT i.key FROM jsonb_each(coalesce(new_values, old_values)) i WHERE operation <> 'update' AND i.value <> 'null') c (name)) END;
END
$$;
COMMENT ON FUNCTION audit.changes_of IS 'What an event changed, as {"column": {"old": …, "new": …}}; a dropped column whose name belongs to another now is marked so; NULL for a TRUNCATE, which does not say';

CREATE FUNCTION audit.history(target regclass, row_key text)
RETURNS TABLE (
    version bigint,
    captured_at timestamptz,
    operation audit.operation,
    row_key text,
    changes jsonb,
    app_user_id text,
    session_user_name text,
    effective_role text,
    reason text,
    request_id text,
    process_id text,
    event_id bigint,
    life int)
LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT row_number() OVER (ORDER BY r.life, r.place), (r.event).captured_at, (r.event).operation, (r.event).row_key,
           audit.changes_of((r.event).operation, (r.event).old_values, (r.event).new_values, (r.event).changed_columns, r.names),
           (r.event).app_user_id, (r.event).session_user_name, (r.event).effective_role, (r.event).reason, (r.event).request_id, (r.event).process_id,
           (r.event).event_id, r.life
    FROM audit.row_events(target, $2) r
    ORDER BY r.life, r.place
$$;
COMMENT ON FUNCTION audit.history IS 'The versions of a row, oldest first: what changed as {"column": {"old": …, "new": …}} under the columns'' present names, who, when, why. Follows changes of the key and of names. A key that was used again has several lives';

CREATE FUNCTION audit.blame(target regclass, row_key text)
RETURNS TABLE (
    column_name name,
    value jsonb,
    captured_at timestamptz,
    operation audit.operation,
    app_user_id text,
    session_user_name text,
    reason text,
    request_id text,
    process_id text,
    event_id bigint)
LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH known AS MATERIALIZED (
        SELECT * FROM audit.row_events(target, $2)
    ), life AS MATERIALIZED (
        SELECT r.place, r.event, CASE WHEN r.names IS NULL THEN (r.event).new_values
                                      ELSE audit.present_image((r.event).new_values, r.names, '{}') END AS image,
               audit.changes_of((r.event).operation, NULL, NULL, (r.event).changed_columns, r.names) AS changed
        FROM known r
        -- The row that has the key now; its last event tells whether it is there.
        WHERE r.life = (SELECT max(k.life) FROM known k)
    ), present AS (
        SELECT FROM life WHERE place = (SELECT max(place) FROM life)
        AND (event).operation IN ('insert', 'update', 'snapshot') AND (event).row_key = $2
    ), brought AS (
        SELECT a.key AS name, a.value, e.since, e.event_id FROM audit.table_eras(target) e, jsonb_each(e.arrived) a
        WHERE e.since > (SELECT (event).captured_at FROM life WHERE place = 1)
    )
    SELECT c.attname, coalesce(v.value, b.value), s.captured_at, s.operation, s.app_user_id, s.session_user_name, s.reason, s.request_id, s.process_id, s.event_id
    FROM pg_attribute c
    CROSS JOIN present
    -- The last event that gave the column its value ...
    LEFT JOIN LATERAL (
        SELECT l.image -> c.attname::text AS value, l.event FROM life l
        WHERE CASE WHEN (l.event).operation = 'update' THEN l.changed ? c.attname::text ELSE l.image ? c.attname::text END
        ORDER BY l.place DESC LIMIT 1) v ON true
    -- ... or the command that brought the column, if it came later.
    LEFT JOIN LATERAL (
        SELECT x.value, x.event_id FROM brought x
        WHERE x.name = c.attname::text AND (v.event IS NULL OR x.since > (v.event).captured_at)
        ORDER BY x.since DESC LIMIT 1) b ON true
    LEFT JOIN LATERAL (
        SELECT (v.event).* WHERE b.event_id IS NULL
        UNION ALL
        SELECT d.* FROM audit.audit_events d WHERE d.event_id = b.event_id) s ON true
    WHERE c.attrelid = target AND c.attnum > 0 AND NOT c.attisdropped
    ORDER BY c.attnum
$$;
COMMENT ON FUNCTION audit.blame IS 'For each column of a row that is there: its present value as far as events tell, and who set it, when, why, in which request, process and event. A column that came later without a write: the command that brought it. Nothing for a row that is gone';
