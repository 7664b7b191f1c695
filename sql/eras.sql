-- The eras of a table: under which OID and name its events stand, and what its columns were called. All reading of rows goes through here.
--
-- A fact is a DDL or system event of the table; each begins an era. Writers and DDL exclude each other by locks, so captured_at tells exactly which
-- era an event belongs to.
CREATE FUNCTION audit.table_eras(target regclass)
RETURNS TABLE (
    table_oid oid, schema_name text, table_name text,
    since timestamptz, until timestamptz,
    event_id bigint, action text,
    is_complete boolean,
    is_diff boolean,
    hidden text[],
    names jsonb,
    arrived jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_indexscan = on SET jit = off SET plan_cache_mode = force_generic_plan  -- a table has few facts: its events without a row key, which the planner takes for many
AS $$
#variable_conflict use_column
DECLARE
    life oid := coalesce(pg_partition_root(target), target);
    schema_now text;       -- names of this life, the earliest that is known so far
    table_now text;
    columns_now jsonb;     -- number -> present name, for this life
    names_after jsonb;     -- name -> present name at the beginning of the later life; NULL: the same
    settings_now jsonb;
    masks text[];
    columns_present text[];
    begun boolean;
    life_until timestamptz := 'infinity';
    facts audit.audit_events[];
    fact audit.audit_events;
    later audit.audit_events;
    earlier oid;
    first_columns jsonb;   -- the columns at the beginning of a life that was restored: a dump numbers them anew
BEGIN
    SELECT n.nspname, c.relname INTO schema_now, table_now
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = life;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no table with OID %', coalesce(life::text, 'NULL')
            USING ERRCODE = 'undefined_table', DETAIL = 'The history of a dropped table is in audit.audit_events, under its name.',
                  HINT = 'Name the table: ''schema.table''.';
    END IF;
    SELECT jsonb_object_agg(a.attnum::text, a.attname), array_agg(a.attname::text) INTO columns_now, columns_present
    FROM pg_attribute a WHERE a.attrelid = life AND a.attnum > 0 AND NOT a.attisdropped;
    SELECT a.settings INTO settings_now FROM audit.attachment a WHERE a.relation = life;

    LOOP
        -- Back through the facts of this OID, as far as they are the same table's.
        begun := NULL;
        later := NULL;
        facts := '{}';
        FOR fact IN
            SELECT e.* FROM audit.audit_events e
            WHERE e.table_oid = life AND e.row_key IS NULL AND e.operation IN ('ddl', 'system') AND e.captured_at < life_until
            ORDER BY e.captured_at DESC, e.event_id DESC
        LOOP
            -- Dropped: the OID was used again.
            EXIT WHEN fact.action IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED') AND NOT fact.context ? 'columns';
            IF fact.schema_name <> schema_now OR fact.table_name <> table_now THEN
                -- Another name: unless renamed, seen or while detached, the OID is another table's, of before a restore.
                EXIT WHEN fact.action <> 'detach' AND (later.action IN ('ALTER TABLE', 'ALTER SCHEMA')) IS NOT TRUE;
                schema_now := fact.schema_name;
                table_now := fact.table_name;
            END IF;
            begun := fact.action = 'attach';
            facts := fact || facts;
            later := fact;
        END LOOP;

        earlier := NULL;
        first_columns := NULL;
        IF begun IS NOT TRUE THEN
            -- No beginning: the database was restored, and the table had another OID. Its name tells which.
            earlier := audit.earlier_oid(life, schema_now, table_now, coalesce(facts[1].captured_at, life_until));
            first_columns := (
                SELECT jsonb_object_agg(c.n::text, c.value)
                FROM (SELECT e.context -> 'columns' FROM audit.audit_events e
                      WHERE e.table_oid = earlier AND e.row_key IS NULL AND e.operation IN ('ddl', 'system') AND e.context ? 'columns'
                        AND e.captured_at < coalesce(facts[1].captured_at, life_until) AND e.schema_name = schema_now AND e.table_name = table_now
                      ORDER BY e.captured_at DESC, e.event_id DESC LIMIT 1) last (columns)
                CROSS JOIN LATERAL (SELECT x.value, row_number() OVER (ORDER BY x.key::int) AS n FROM jsonb_each_text(last.columns) x) c);
        END IF;

        masks := ARRAY(SELECT DISTINCT jsonb_array_elements_text((s.settings -> 'mask') || (s.settings -> 'exclude'))
                       FROM (SELECT f.context -> 'settings' FROM unnest(facts) f UNION ALL SELECT settings_now) s (settings));
        RETURN QUERY
            WITH fact AS (
                SELECT f.captured_at, f.event_id, f.action, f.schema_name, f.table_name, f.context,
                       row_number() OVER (ORDER BY f.captured_at, f.event_id) AS n
                FROM unnest(facts) f
                UNION ALL
                -- What was before the first fact: only if that is not the beginning.
                SELECT '-infinity', NULL, NULL, schema_now, table_now, jsonb_strip_nulls(jsonb_build_object('columns', first_columns)), 0
                WHERE begun IS NOT TRUE
            ), known AS (
                SELECT f.*,
                       coalesce((SELECT k.context -> 'columns' FROM fact k WHERE k.n <= f.n AND k.context ? 'columns' ORDER BY k.n DESC LIMIT 1),
                                (SELECT k.context -> 'columns' FROM fact k WHERE k.context ? 'columns' ORDER BY k.n LIMIT 1)) AS columns,
                       coalesce((SELECT k.context -> 'settings' FROM fact k WHERE k.n <= f.n AND k.context ? 'settings' ORDER BY k.n DESC LIMIT 1),
                                settings_now) AS settings
                FROM fact f
            ), last AS (
                SELECT coalesce(columns_now, (SELECT k.columns FROM known k ORDER BY k.n DESC LIMIT 1)) AS columns
            ), named AS (
                SELECT k.n, c.key AS number, c.value AS name_then,
                       CASE WHEN names_after ? (last.columns ->> c.key) THEN names_after ->> (last.columns ->> c.key) ELSE last.columns ->> c.key END AS name_now
                FROM known k, last, jsonb_each_text(k.columns) c
            )
            SELECT life, k.schema_name, k.table_name, k.captured_at,
                   lead(k.captured_at, 1, life_until) OVER (ORDER BY k.n),
                   k.event_id, k.action,
                   CASE WHEN NOT coalesce(k.context #> '{settings,operations}' @> '["insert", "update", "delete", "truncate"]', true) THEN false
                        WHEN k.context ->> 'baseline' = 'true' OR k.context ->> 'empty' = 'true' THEN true
                        WHEN k.action IN ('attach', 'detach') THEN false END,
                   coalesce(k.settings ->> 'capture' = 'diff', false),
                   masks,
                   -- A dropped column keeps its name, unless a present one has it.
                   (SELECT jsonb_object_agg(d.name_then, d.name_now) FROM named d
                    WHERE d.n = k.n AND CASE WHEN d.name_now IS NULL THEN d.name_then = ANY (columns_present) ELSE d.name_now <> d.name_then END),
                   (SELECT jsonb_object_agg(d.name_now, k.context -> 'missing' -> d.name_then) FROM named d
                    WHERE d.n = k.n AND d.name_now IS NOT NULL
                      AND NOT (SELECT p.columns FROM known p WHERE p.n < k.n ORDER BY p.n DESC LIMIT 1) ? d.number)
            FROM known k;

        EXIT WHEN earlier IS NULL;
        columns_now := coalesce(columns_now, (SELECT f.context -> 'columns' FROM unnest(facts) f WHERE f.context ? 'columns' ORDER BY f.captured_at DESC, f.event_id DESC LIMIT 1),
                                first_columns);
        names_after := (SELECT jsonb_object_agg(c.value, CASE WHEN names_after ? (columns_now ->> c.key) THEN names_after ->> (columns_now ->> c.key) ELSE columns_now ->> c.key END)
                        FROM jsonb_each_text(first_columns) c);
        columns_now := NULL;
        settings_now := NULL;
        life_until := coalesce(facts[1].captured_at, life_until);
        life := earlier;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.table_eras IS 'The eras of a table, each begun by a DDL or system event: OID and name that its events carry then; whether the log knows the whole table from its beginning on; names: columns whose present name is another (NULL: dropped, and its name belongs to another); arrived: columns that it brought, by present name, with what rows from before have in them';

CREATE FUNCTION audit.earlier_oid(later oid, schema_name text, table_name text, before timestamptz) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_indexscan = on SET jit = off AS $$
    -- From one OID of the index to the next: there are as many steps as tables.
    WITH RECURSIVE known AS (
        SELECT min(e.table_oid) AS oid FROM audit.audit_events e
        UNION ALL
        SELECT (SELECT min(e.table_oid) FROM audit.audit_events e WHERE e.table_oid > k.oid) FROM known k WHERE k.oid IS NOT NULL
    )
    SELECT k.oid
    FROM known k
    CROSS JOIN LATERAL (
        SELECT e.captured_at, e.event_id, e.action FROM audit.audit_events e
        WHERE e.table_oid = k.oid AND e.row_key IS NULL AND e.operation IN ('ddl', 'system') AND e.captured_at < before
          AND e.schema_name = $2 AND e.table_name = $3
        ORDER BY e.captured_at DESC, e.event_id DESC LIMIT 1) last
    WHERE k.oid <> later AND last.action NOT IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'detach', 'merge')
      -- Not renamed since; any other fact that follows is of a table that got the OID in the restored database.
      AND (SELECT e.action FROM audit.audit_events e
           WHERE e.table_oid = k.oid AND e.row_key IS NULL AND e.operation IN ('ddl', 'system') AND e.captured_at < before
             AND (e.captured_at, e.event_id) > (last.captured_at, last.event_id)
           ORDER BY e.captured_at, e.event_id LIMIT 1) IN ('ALTER TABLE', 'ALTER SCHEMA') IS NOT TRUE
    ORDER BY last.captured_at DESC
    LIMIT 1
$$;
COMMENT ON FUNCTION audit.earlier_oid IS 'The OID that a table had before the database was restored: of the table that last had this name and was neither dropped nor detached';

CREATE FUNCTION audit.present_image(image jsonb, names jsonb, hidden text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(coalesce(names ->> c.key, c.key), c.value), '{}')
    FROM jsonb_each(image) c
    WHERE NOT (coalesce(names, '{}') ? c.key AND names ->> c.key IS NULL) AND NOT (c.value = '"***"' AND c.key = ANY (hidden))
$$;
COMMENT ON FUNCTION audit.present_image IS 'A row''s image with the present names of its columns, without masked values';
