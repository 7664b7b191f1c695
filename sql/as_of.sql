-- A table as it was: folded from its events alone, so that what is shown is what the log proves.
--
-- The time of a change is captured_at, for commit times are not stored; a transaction counts as a whole, once its last change of the table is
-- captured. Writers of one row exclude each other until they commit, so no change is shown without those that it builds on.

CREATE FUNCTION audit.open_transactions(table_oids oid[], at timestamptz) RETURNS TABLE (xact_id xid8, occurred_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT DISTINCT e.xact_id, e.occurred_at FROM audit.audit_events e
    WHERE e.table_oid = ANY (table_oids) AND e.occurred_at <= at AND e.captured_at > at
      AND e.operation IN ('insert', 'update', 'delete', 'snapshot', 'truncate')
$$;
COMMENT ON FUNCTION audit.open_transactions IS 'The transactions that had begun by then, and had changes of the tables still before them';

CREATE FUNCTION audit.known_since(target regclass, at timestamptz, OUT since timestamptz, OUT event_id bigint, OUT is_complete boolean, OUT is_audited boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    WITH era AS MATERIALIZED (
        SELECT * FROM audit.table_eras(target) WHERE since <= at
    ), open AS MATERIALIZED (
        SELECT xact_id, occurred_at FROM audit.open_transactions(ARRAY(SELECT table_oid FROM era), at)
    ), point AS (
        SELECT e.since, e.event_id, e.is_complete, e.action FROM era e
        WHERE e.is_complete IS NOT NULL
          AND NOT EXISTS (SELECT FROM open o JOIN audit.audit_events f USING (xact_id, occurred_at) WHERE f.event_id = e.event_id)
        UNION ALL
        SELECT t.captured_at, t.event_id, true, 'truncate' FROM audit.audit_events t
        WHERE t.table_oid = ANY (ARRAY(SELECT table_oid FROM era)) AND t.row_key IS NULL AND t.operation = 'truncate'
          AND t.occurred_at <= at AND t.captured_at <= at
          AND EXISTS (SELECT FROM era e WHERE (e.table_oid, e.schema_name, e.table_name) = (t.table_oid, t.schema_name, t.table_name)
                      AND e.since <= t.captured_at AND t.captured_at < e.until)
          AND (t.xact_id, t.occurred_at) NOT IN (SELECT o.xact_id, o.occurred_at FROM open o)
    )
    SELECT p.since, p.event_id, p.is_complete, p.action <> 'detach' FROM point p ORDER BY p.since DESC, p.event_id DESC LIMIT 1
$$;
COMMENT ON FUNCTION audit.known_since IS 'The last moment before a time from which on the log tells all of a table''s changes: its attachment, a baseline, a TRUNCATE; is_complete: and all rows that were there then';

CREATE AGGREGATE audit.merge_images(jsonb) (SFUNC = pg_catalog.jsonb_concat, STYPE = jsonb);
COMMENT ON AGGREGATE audit.merge_images(jsonb) IS 'Later images over earlier ones';

-- A touch adds a row under a key, or takes it away. fill: what a row from before has in columns that came with a default.
CREATE FUNCTION audit.rows_query(target regclass, at timestamptz, since timestamptz, event_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    touches CONSTANT text := $q$
        WITH RECURSIVE known AS MATERIALIZED (
            SELECT e.*, row_number() OVER () AS no FROM audit.table_eras(%1$L) e WHERE e.since <= %2$L
        ), era AS MATERIALIZED (
            SELECT k.*, (SELECT jsonb_object_agg(a.key, a.value) FROM known later, jsonb_each(later.arrived) a
                         WHERE later.since > k.since AND a.value <> 'null' AND a.key <> ALL (k.hidden)) AS fill
            FROM known k
        ), open AS MATERIALIZED (
            SELECT * FROM audit.open_transactions(%5$L, %2$L)
        ), event AS NOT MATERIALIZED (
            SELECT e.*, era.no, era.is_diff
            FROM audit.audit_events e
            JOIN era ON era.table_oid = e.table_oid AND era.schema_name = e.schema_name AND era.table_name = e.table_name
                    AND era.since <= e.captured_at AND e.captured_at < era.until
            WHERE e.table_oid = ANY (%5$L) AND e.operation IN ('insert', 'update', 'delete', 'snapshot')
              AND e.occurred_at <= %2$L AND e.captured_at <= %2$L AND e.captured_at >= %3$L AND (e.captured_at > %3$L OR e.event_id > %4$L)
              AND (e.xact_id, e.occurred_at) NOT IN (SELECT o.xact_id, o.occurred_at FROM open o)
        ), touch AS (
            SELECT e.row_key AS key, e.operation <> 'delete' AS is_add, e.operation = 'update' AND e.is_diff AS is_part,
                   e.operation IN ('insert', 'snapshot') OR e.old_row_key IS NOT NULL AS is_start, e.old_row_key AS from_key,
                   e.new_values, e.no, e.xact_id, e.occurred_at, e.captured_at, e.statement_id, e.event_id
            FROM event e
            UNION ALL
            SELECT e.old_row_key, false, false, false, NULL, NULL, e.no, e.xact_id, e.occurred_at, e.captured_at, e.statement_id, e.event_id
            FROM event e WHERE e.old_row_key IS NOT NULL
        ), placed AS (
            -- What one transaction did to a row lies together, for it held the row's lock.
            SELECT t.*, max(t.captured_at) OVER (PARTITION BY t.key, t.xact_id, t.occurred_at) AS last_captured FROM touch t
        ),
    $q$;
    image CONSTANT text := $q$
        CASE WHEN era.names IS NULL AND era.hidden = '{}' AND era.fill IS NULL THEN %1$s
             ELSE CASE WHEN %2$s THEN '{}' ELSE coalesce(era.fill, '{}') END || audit.present_image(%1$s, era.names, era.hidden) END
    $q$;
    -- No keys: what came, less what went.
    without_keys CONSTANT text := $q$
        side AS (
            SELECT (%1$s)::text AS image, 1 AS sign FROM event e JOIN era USING (no) WHERE e.new_values IS NOT NULL
            UNION ALL
            SELECT (%2$s)::text, -1 FROM event e JOIN era USING (no) WHERE e.old_values IS NOT NULL
        ), fold AS (
            SELECT s.image::jsonb, sum(s.sign) AS n FROM side s GROUP BY s.image HAVING sum(s.sign) > 0
        )
        SELECT NULL::text AS row_key, f.image, NULL::bigint AS event_id FROM fold f, generate_series(1, f.n)
    $q$;
    -- UPDATE's events hold the changed columns: a segment is a row's time under one key, its image the fold of its touches, on top of that of
    -- the segment under the key before.
    of_parts CONSTANT text := $q$
        numbered AS (
            SELECT p.*, row_number() OVER w AS place, count(*) FILTER (WHERE p.is_start) OVER w AS segment
            FROM placed p WINDOW w AS (PARTITION BY p.key ORDER BY p.last_captured, p.statement_id, p.is_add, p.event_id)
        ), segment AS MATERIALIZED (
            SELECT n.key, n.segment, (array_agg(n.is_add ORDER BY n.place DESC))[1] AS is_there,
                   audit.merge_images(%1$s ORDER BY n.place) FILTER (WHERE n.is_add) AS image,
                   min(n.event_id) FILTER (WHERE n.is_start) AS arrived_by, min(n.from_key) FILTER (WHERE n.is_start) AS from_key,
                   (array_agg(n.event_id ORDER BY n.place DESC))[1] AS last_event
            FROM numbered n JOIN era USING (no) GROUP BY n.key, n.segment
        ), chain AS (
            SELECT s.key, s.image, s.from_key, s.arrived_by, s.last_event, 0 AS depth
            FROM (SELECT DISTINCT ON (s.key) s.* FROM segment s ORDER BY s.key, s.segment DESC) s WHERE s.is_there
            UNION ALL
            SELECT c.key, before.image || c.image, before.from_key, before.arrived_by, c.last_event, c.depth + 1
            FROM chain c JOIN segment before ON before.key = c.from_key AND before.last_event = c.arrived_by
        )
        SELECT DISTINCT ON (c.key) c.key AS row_key, c.image, c.last_event AS event_id FROM chain c ORDER BY c.key, c.depth DESC
    $q$;
    -- A key's last touch tells all.
    of_wholes CONSTANT text := $q$
        last AS (
            SELECT DISTINCT ON (p.key) p.* FROM placed p
            ORDER BY p.key, p.last_captured DESC, p.statement_id DESC, p.is_add DESC, p.event_id DESC
        )
        SELECT l.key AS row_key, %1$s AS image, l.event_id FROM last l JOIN era USING (no) WHERE l.is_add
    $q$;
    oids oid[];
    has_diff boolean;
    has_keyless boolean;
    query text;
BEGIN
    SELECT array_agg(DISTINCT e.table_oid), bool_or(e.is_diff) INTO oids, has_diff FROM audit.table_eras(target) e WHERE e.since <= at;
    has_keyless := EXISTS (
        SELECT FROM audit.audit_events e
        WHERE e.table_oid = ANY (oids) AND e.row_key IS NULL AND e.operation IN ('insert', 'update', 'delete', 'snapshot')
          AND e.occurred_at <= at AND e.captured_at <= at AND e.captured_at >= since);
    IF has_keyless AND has_diff THEN
        RAISE EXCEPTION 'the rows of % cannot be told', target
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'They have no key, and with capture => ''diff'' the event of an UPDATE does not say which row it was.',
                  HINT = 'Give the table a primary key, or attach it with key_columns or with capture => ''full''.';
    END IF;
    query := CASE WHEN has_keyless THEN format(without_keys, format(image, 'e.new_values', 'false'), format(image, 'e.old_values', 'false'))
                  WHEN has_diff THEN format(of_parts, format(image, 'n.new_values', 'n.is_part'))
                  ELSE format(of_wholes, format(image, 'l.new_values', 'false')) END;
    RETURN format(touches, target::oid::regclass, at, since, event_id, oids) || query;
END
$$;
COMMENT ON FUNCTION audit.rows_query IS 'The SELECT behind audit.rows_at and audit.as_of: folds the events from a moment on at which the log knows all';

CREATE FUNCTION audit.rows_at(target regclass, at timestamptz)
RETURNS TABLE (row_key text, image jsonb, event_id bigint)
LANGUAGE plpgsql STABLE ROWS 10000 SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    start record;
BEGIN
    SELECT * INTO start FROM audit.known_since(target, at);
    RETURN QUERY EXECUTE audit.rows_query(target, at, coalesce(start.since, '-infinity'), coalesce(start.event_id, 0));
END
$$;
COMMENT ON FUNCTION audit.rows_at IS 'The rows of a table at a time, as far as the log tells: key, image with the columns'' present names, the event that made it so. Masked values are left out';

CREATE FUNCTION audit.input_image(image jsonb, hstores text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(c.key, CASE WHEN c.key = ANY (hstores) AND jsonb_typeof(c.value) = 'object' THEN to_jsonb(coalesce(
        (SELECT string_agg('"' || regexp_replace(e.key, '(["\\])', '\\\1', 'g') || '"=>' || coalesce('"' || regexp_replace(e.value, '(["\\])', '\\\1', 'g') || '"', 'NULL'), ', ')
         FROM jsonb_each_text(c.value) e), '')) ELSE c.value END), '{}')
    FROM jsonb_each(image) c
    WHERE NOT (jsonb_typeof(c.value) = 'object' AND c.value @> '{"pg_attest": "substitute"}')
$$;
COMMENT ON FUNCTION audit.input_image IS 'An image as the columns'' types can read it: an hstore as its text, nothing in place of values that JSON could not hold';

CREATE FUNCTION audit.hstore_columns(target regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT c.attname::text FROM pg_attribute c JOIN pg_type t ON t.oid = c.atttypid
                 WHERE c.attrelid = target AND c.attnum > 0 AND NOT c.attisdropped AND t.typname = 'hstore')
$$;
COMMENT ON FUNCTION audit.hstore_columns IS 'The columns whose images are JSON objects, but whose type does not read JSON';

CREATE FUNCTION audit.as_of(row_type anyelement, at timestamptz) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE ROWS 10000
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET lc_monetary = 'C' SET jit = off AS $$
DECLARE
    target regclass := (SELECT t.typrelid FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
                        WHERE t.oid = pg_typeof(row_type)::oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition);
    hstores CONSTANT text[] := audit.hstore_columns(target);
    start record;
BEGIN
    IF target IS NULL THEN
        RAISE EXCEPTION '% is not the row type of a table', pg_typeof(row_type)
            USING ERRCODE = 'wrong_object_type', DETAIL = 'Rows are told of tables that are or were attached; a partition is part of its root.',
                  HINT = 'For example: SELECT * FROM audit.as_of(NULL::orders, now() - interval ''1 day'');';
    END IF;
    IF at IS NULL THEN
        RAISE EXCEPTION 'at must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'The call does not say at which time.', HINT = 'now() gives the rows that are known now.';
    END IF;
    SELECT * INTO start FROM audit.known_since(target, at);
    IF start.is_audited IS NOT TRUE THEN
        RAISE EXCEPTION '% was not audited at %', target, at
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = coalesce((SELECT format('Its attachment began at %s.', min(e.since)) FROM audit.table_eras(target) e WHERE e.action = 'attach' AND e.since > at),
                                    'The log has no attachment of it after that time.'),
                  HINT = 'SELECT * FROM audit.table_eras(…) shows when the table was attached.';
    ELSIF NOT start.is_complete THEN
        RAISE EXCEPTION 'the rows of % at % are not all known', target, at
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('At %s it was attached with rows in it and without a baseline, or some operations ceased to be recorded.', start.since),
                  HINT = format('SELECT audit.attach(''%1$s'', …, baseline => true) records them from now on; audit.rows_at(''%1$s'', …) gives the rows that are known.', target);
    END IF;
    BEGIN
        RETURN QUERY EXECUTE format($q$
            SELECT p.* FROM (%s) r
            CROSS JOIN LATERAL jsonb_populate_record(NULL::%s, CASE WHEN %s OR r.image @? '$.*.pg_attest' THEN audit.input_image(r.image, $1) ELSE r.image END) p
            $q$, audit.rows_query(target, at, start.since, start.event_id), pg_typeof(row_type), CASE WHEN hstores = '{}' THEN 'false' ELSE 'true' END)
            USING hstores;
    EXCEPTION WHEN data_exception OR syntax_error OR internal_error THEN
        RAISE EXCEPTION 'a row of % does not fit its present type: %', target, SQLERRM
            USING ERRCODE = SQLSTATE, DETAIL = 'A column has another type now than it had then, or one that does not read its JSON.',
                  HINT = format('audit.rows_at(''%s'', …) gives the rows as JSON.', target);
    END;
END
$$;
COMMENT ON FUNCTION audit.as_of IS 'A table as it was: SELECT * FROM audit.as_of(NULL::orders, ''2026-01-31 12:00+00''). Columns as they are now: renamed ones under their present name, later ones NULL; masked and excluded columns are NULL. Needs a table that was empty when attached, or a baseline; counts a transaction from its last change of the table on';
