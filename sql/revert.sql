-- Undoing: the SQL that puts rows back, each only if the row still is as the log says.

CREATE FUNCTION audit.key_columns(target regclass) RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT array_agg(k.name::name ORDER BY k.place) FROM audit.attachment a, jsonb_array_elements_text(NULLIF(a.settings -> 'key_columns', 'null')) WITH ORDINALITY k (name, place)
         WHERE a.relation = target),
        (SELECT array_agg(c.attname ORDER BY k.place)
         FROM (SELECT i.indkey FROM pg_index i WHERE i.indrelid = target AND (i.indisprimary OR i.indisreplident) ORDER BY i.indisprimary DESC LIMIT 1) i,
              unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place), pg_attribute c
         WHERE c.attrelid = target AND c.attnum = k.number))
$$;
COMMENT ON FUNCTION audit.key_columns IS 'The columns that make a table''s row keys now; NULL if it has no key';

CREATE FUNCTION audit.revert_condition(event_id bigint, xact_id xid8, target regclass, row_key text, to_time timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    asked record;
BEGIN
    IF (event_id IS NOT NULL)::int + (xact_id IS NOT NULL)::int + (to_time IS NOT NULL)::int <> 1 OR (to_time IS NULL) <> (row_key IS NULL)
       OR to_time IS NOT NULL AND target IS NULL THEN
        RAISE EXCEPTION 'it is not clear what to revert'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'An event, a transaction, or a row to a time can be reverted.',
                  HINT = 'Give event_id, or xact_id (perhaps with target), or target, row_key and to_time.';
    END IF;
    IF event_id IS NOT NULL THEN
        SELECT e.operation, e.schema_name, e.table_name INTO asked FROM audit.audit_events e WHERE e.event_id = revert_condition.event_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'there is no event %', event_id
                USING ERRCODE = 'no_data_found', DETAIL = 'The log has no event with this id.', HINT = 'audit.history(…) shows the events of a row.';
        ELSIF asked.operation NOT IN ('insert', 'update', 'delete') THEN
            RAISE EXCEPTION 'event % cannot be reverted', event_id
                USING ERRCODE = 'feature_not_supported', DETAIL = format('Its operation is %s; inserts, updates and deletes can be reverted.', asked.operation),
                      HINT = 'audit.as_of(…) shows what a table held before a TRUNCATE.';
        END IF;
        RETURN format('e.event_id = %s', event_id);
    ELSIF xact_id IS NOT NULL THEN
        RETURN format('e.xact_id = %L AND ', xact_id)
            || audit.ids_condition(ARRAY(SELECT r.last_id FROM audit.event_ranges r WHERE xact_id BETWEEN r.xact_from AND r.xact_to))
            || CASE WHEN target IS NULL THEN '' ELSE
            format(' AND e.table_oid = ANY (%L)', ARRAY(SELECT x.table_oid FROM audit.table_eras(target) x)) END;
    END IF;
    -- The row that had the key then, and those that took it since.
    RETURN format('e.event_id = ANY (%L)', ARRAY(
        SELECT (r.event).event_id
        FROM (SELECT v.*, bool_or((v.event).captured_at > to_time AND row_key IN ((v.event).row_key, (v.event).old_row_key)) OVER (PARTITION BY v.life) AS is_meant
              FROM audit.row_events(target, row_key) v) r
        WHERE r.is_meant AND (r.event).captured_at > to_time));
END
$$;
COMMENT ON FUNCTION audit.revert_condition IS 'Which events audit.revert is to undo, as a condition';

CREATE FUNCTION audit.revert_row(target regclass, net jsonb, touched text[], locking boolean, OUT statement text, OUT conflict text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before CONSTANT jsonb := NULLIF(net -> 'before', 'null');
    after CONSTANT jsonb := NULLIF(net -> 'after', 'null');
    is_update CONSTANT boolean := before IS NOT NULL AND after IS NOT NULL;
    own_key CONSTANT text := coalesce(net ->> 'key_after', net ->> 'key_before');
    keys CONSTANT name[] := audit.key_columns(target);
    name CONSTANT text := (SELECT format('%s%I.%I', CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END, n.nspname, c.relname)
                           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target);
    hidden CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(a.settings -> 'exclude') FROM audit.attachment a WHERE a.relation = target);
    -- What is put back: the columns that differ, or the row.
    wanted CONSTANT text[] := ARRAY(SELECT k.key FROM jsonb_object_keys(before) k (key) WHERE NOT is_update OR before -> k.key IS DISTINCT FROM after -> k.key);
    key_text text;
    place text;
    rows jsonb[];
    at tid;
    bad text;
    names text[];
    literals text[];
    clash record;
BEGIN
    IF name IS NULL THEN
        conflict := 'the table is gone';
    ELSIF keys IS NULL OR own_key IS NULL THEN
        conflict := 'the row has no key';
    ELSIF own_key ~ '…sha256:[0-9a-f]{64}$' THEN
        conflict := 'the log has only a digest of the row''s key';
    ELSE
        bad := (SELECT string_agg(format('%I', w.name), ', ') FROM unnest(wanted) w (name)
                WHERE before -> w.name <> 'null' AND NOT EXISTS (SELECT FROM pg_attribute c WHERE c.attrelid = target AND c.attname = w.name AND NOT c.attisdropped));
        IF bad IS NOT NULL THEN
            conflict := 'the table has no column ' || bad || ' any more';
            RETURN;
        END IF;
        bad := (SELECT string_agg(format('%I', w.name), ', ') FROM unnest(wanted) w (name)
                WHERE before -> w.name = '"***"' AND w.name IN (SELECT unnest(x.hidden) FROM audit.table_eras(target) x)
                   OR jsonb_typeof(before -> w.name) = 'object' AND before -> w.name @> '{"pg_attest": "substitute"}');
        bad := concat_ws(', ', bad, CASE WHEN after IS NULL AND hidden <> '{}' THEN (SELECT string_agg(format('%I', h), ', ') FROM unnest(hidden) h) END);
        IF bad <> '' THEN
            conflict := 'the log does not have the value of ' || bad;
            RETURN;
        END IF;
    END IF;
    IF is_update AND wanted = '{}' THEN
        conflict := 'the log does not have the values that changed: they are masked';
    END IF;
    IF conflict IS NOT NULL THEN
        RETURN;
    END IF;

    -- The row as it is.
    key_text := (SELECT CASE WHEN count(*) = 1 THEN min(format('x.%I::text', k)) ELSE format('ROW(%s)::text', string_agg(format('x.%I', k), ', ' ORDER BY n)) END
                 FROM unnest(keys) WITH ORDINALITY u (k, n));
    place := CASE
        WHEN cardinality(keys) = 1 THEN (SELECT format('x.%I = %L::%s', c.attname, own_key, format_type(c.atttypid, c.atttypmod))
                                         FROM pg_attribute c WHERE c.attrelid = target AND c.attname = keys[1])
        ELSE format('%s = %L', key_text, own_key) END;
    EXECUTE format('SELECT array_agg(l.image), min(l.at) FROM (SELECT to_jsonb(x) AS image, x.ctid AS at FROM %s x WHERE %s %s) l', name, place,
                   CASE WHEN locking THEN 'FOR UPDATE' ELSE '' END) INTO rows, at;
    IF locking THEN
        -- This very row, although another may have taken its key when the statement runs.
        place := format('%s AND x.ctid = %L', place, at);
    END IF;
    IF after IS NULL THEN
        IF rows IS NOT NULL THEN
            conflict := 'a row with this key is there';
        END IF;
    ELSIF rows IS NULL THEN
        conflict := 'the row is gone';
    ELSIF cardinality(rows) > 1 THEN
        conflict := 'several rows have this key';
    ELSE
        bad := (SELECT string_agg(format('%I', a.key), ', ') FROM jsonb_each(after) a
                WHERE (NOT is_update OR a.key = ANY (wanted)) AND rows[1] ? a.key AND rows[1] -> a.key IS DISTINCT FROM a.value
                  -- A masked value tells nothing: the log tells whether it was changed later.
                  AND NOT (a.value = '"***"' AND rows[1] -> a.key <> 'null' AND NOT EXISTS (
                      SELECT FROM audit.key_events(target, own_key) l JOIN audit.audit_events e ON e.event_id = (net ->> 'last_event')::bigint
                      WHERE (l.event).captured_at > e.captured_at
                        AND a.key IN (SELECT coalesce(l.names ->> c, c) FROM unnest((l.event).changed_columns) c))));
        IF bad IS NOT NULL THEN
            conflict := 'changed since: ' || bad;
        END IF;
    END IF;
    IF conflict IS NOT NULL THEN
        RETURN;
    END IF;
    IF before IS NULL THEN
        statement := format('DELETE FROM %s x WHERE %s', name, place);
        RETURN;
    END IF;

    -- Typed literals, by way of the row type.
    SELECT array_agg(c.attname::text ORDER BY c.attnum) INTO names
    FROM pg_attribute c WHERE c.attrelid = target AND c.attnum > 0 AND NOT c.attisdropped AND c.attgenerated = '' AND c.attname = ANY (wanted);
    IF is_update AND EXISTS (SELECT FROM pg_attribute c WHERE c.attrelid = target AND c.attname = ANY (names) AND c.attidentity = 'a') THEN
        conflict := 'an identity column that is GENERATED ALWAYS cannot be set back';
        RETURN;
    END IF;
    EXECUTE (SELECT format('SELECT ARRAY[%s] FROM jsonb_populate_record(NULL::%s, $1) r',
                           string_agg(format('quote_nullable(r.%I::text) || %L', c.attname, '::' || format_type(c.atttypid, c.atttypmod)), ', ' ORDER BY c.attnum), target)
             FROM pg_attribute c WHERE c.attrelid = target AND c.attname = ANY (names))
        INTO literals USING audit.input_image(before, audit.hstore_columns(target));
    IF is_update THEN
        statement := format('UPDATE %s x SET %s WHERE %s', name, (SELECT string_agg(format('%I = %s', n, l), ', ') FROM unnest(names, literals) u (n, l)), place);
    ELSE
        statement := format('INSERT INTO %s (%s)%s VALUES (%s)', regexp_replace(name, '^ONLY ', ''), (SELECT string_agg(quote_ident(n), ', ') FROM unnest(names) n),
                            CASE WHEN EXISTS (SELECT FROM pg_attribute c WHERE c.attrelid = target AND c.attidentity = 'a' AND NOT c.attisdropped) THEN ' OVERRIDING SYSTEM VALUE' ELSE '' END,
                            array_to_string(literals, ', '));
    END IF;

    -- Another row may have the unique values meanwhile; the rows that are reverted too do not count.
    FOR clash IN
        SELECT (SELECT string_agg(quote_ident(k.name), ', ' ORDER BY k.place) FROM unnest(i.columns) WITH ORDINALITY k (name, place)) AS shown,
               (SELECT string_agg(format('x.%I = %s', k.name, coalesce((SELECT l FROM unnest(names, literals) u (n, l) WHERE n = k.name), format('%L', rows[1] ->> k.name))), ' AND ')
                FROM unnest(i.columns) k (name)) AS condition
        FROM (SELECT ARRAY(SELECT c.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY k (number, place) JOIN pg_attribute c ON c.attrelid = x.indrelid AND c.attnum = k.number
                           WHERE k.place <= x.indnkeyatts ORDER BY k.place) AS columns
              FROM pg_index x WHERE x.indrelid = target AND x.indisunique AND x.indexprs IS NULL AND x.indpred IS NULL) i
        WHERE i.columns && names
    LOOP
        EXECUTE format('SELECT min(%s) FROM %s x WHERE %s AND %s <> ALL ($1)', key_text, name, clash.condition, key_text) INTO bad USING touched;
        IF bad IS NOT NULL THEN
            conflict := format('another row (%s) has the same %s', bad, clash.shown);
            statement := NULL;
            RETURN;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.revert_row IS 'The statement that puts one row back, or what stands against it; net is a row of audit.net_query, touched are the keys of all rows to be put back';

CREATE FUNCTION audit.revert_steps(event_id bigint, xact_id xid8, target regclass, row_key text, to_time timestamptz, locking boolean)
RETURNS TABLE (step int, relation regclass, key text, statement text, conflict text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres'
SET bytea_output = 'hex' SET extra_float_digits = 1 SET lc_monetary = 'C' AS $$
DECLARE
    condition CONSTANT text := audit.revert_condition(event_id, xact_id, target, row_key, to_time);
    net record;
BEGIN
    step := 0;
    FOR net IN EXECUTE format('SELECT n.*, array_agg(coalesce(n.key_after, n.key_before)) OVER (PARTITION BY n.target) AS touched FROM (%s) n ORDER BY n.place DESC',
                              audit.net_query(target, condition)) LOOP
        step := step + 1;
        relation := net.target;
        key := coalesce(net.key_after, net.key_before);
        BEGIN
            SELECT r.statement, r.conflict INTO statement, conflict FROM audit.revert_row(net.target, to_jsonb(net), net.touched, locking) r;
        EXCEPTION WHEN data_exception THEN
            statement := NULL;
            conflict := 'a value does not fit its column any more: ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
    -- What no row's event tells.
    FOR net IN EXECUTE format('SELECT e.* FROM audit.audit_events e WHERE (%s) AND e.operation IN (''truncate'', ''ddl'') ORDER BY e.event_id DESC', condition) LOOP
        step := step + 1;
        relation := net.table_oid;
        key := NULL;
        statement := NULL;
        conflict := CASE WHEN net.operation = 'truncate' THEN 'the rows of a TRUNCATE are not in its event' ELSE net.action || ' is not reverted' END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.revert_steps IS 'What audit.revert would do, with locks on the rows if it is going to';

-- No SET and no SECURITY DEFINER: the statements run with the caller's rights and settings, as if typed. Hence all names are qualified.
CREATE FUNCTION audit.revert(
    event_id bigint DEFAULT NULL,
    xact_id xid8 DEFAULT NULL,
    target regclass DEFAULT NULL,
    row_key text DEFAULT NULL,
    to_time timestamptz DEFAULT NULL,
    reason text DEFAULT NULL,
    dry_run boolean DEFAULT true)
RETURNS TABLE (step int, relation regclass, key text, statement text, conflict text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    planned record;
    shown pg_catalog.text;
    plan pg_catalog.jsonb;
    conflicts pg_catalog.text;
    changed bigint;
    outer_context CONSTANT pg_catalog.jsonb := audit.context();
    outer_extra CONSTANT pg_catalog.jsonb := CASE pg_catalog.jsonb_typeof(outer_context OPERATOR(pg_catalog.->) 'extra') WHEN 'object'
                                                  THEN outer_context OPERATOR(pg_catalog.->) 'extra' ELSE '{}' END;
BEGIN
    IF dry_run IS DISTINCT FROM false THEN
        RETURN QUERY SELECT * FROM audit.revert_steps(event_id, xact_id, target, row_key, to_time, false);
        RETURN;
    END IF;
    IF pg_catalog.btrim(reason) OPERATOR(pg_catalog.=) '' OR reason IS NULL THEN
        RAISE EXCEPTION 'a reason is needed to revert'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'Reverting changes rows, and the log keeps why.',
                  HINT = 'SELECT * FROM audit.revert(…, reason => ''why'', dry_run => false);';
    END IF;
    SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(s)),
           pg_catalog.string_agg(pg_catalog.format('%s, row %s: %s.', s.relation, coalesce(s.key, '(none)'), s.conflict), E'\n') FILTER (WHERE s.conflict IS NOT NULL)
    INTO plan, conflicts
    FROM audit.revert_steps(event_id, xact_id, target, row_key, to_time, true) s;
    IF conflicts IS NOT NULL THEN
        RAISE EXCEPTION 'nothing was reverted: there are conflicts'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = conflicts, HINT = 'Without dry_run => false, audit.revert shows each step.';
    END IF;
    PERFORM audit.set_context(reason => reason, extra => outer_extra OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('reverts', pg_catalog.jsonb_strip_nulls(
        pg_catalog.jsonb_build_object('event_id', event_id, 'xact_id', xact_id, 'table', target, 'row_key', row_key, 'to_time', to_time))));
    FOR planned IN SELECT * FROM pg_catalog.jsonb_to_recordset(coalesce(plan, '[]')) AS p (step int, relation pg_catalog.regclass, key pg_catalog.text, statement pg_catalog.text) ORDER BY 1
    LOOP
        shown := pg_catalog.regexp_replace(planned.statement, ' AND x\.ctid = ''\([0-9,]*\)''$', '');
        EXECUTE planned.statement;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed OPERATOR(pg_catalog.<>) 1 THEN
            RAISE EXCEPTION 'nothing was reverted: a trigger or a policy kept row % of % as it is', planned.key, planned.relation
                USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = pg_catalog.format('%s rows changed by: %s', changed, shown),
                      HINT = 'Change the row by hand, or as a role that may.';
        END IF;
        step := planned.step;
        relation := planned.relation;
        key := planned.key;
        statement := shown;
        conflict := NULL;
        RETURN NEXT;
    END LOOP;
    -- What follows in the transaction is not the revert's.
    PERFORM pg_catalog.set_config('audit.reason', coalesce(outer_context OPERATOR(pg_catalog.->>) 'reason', ''), true),
            pg_catalog.set_config('audit.context', coalesce(outer_context OPERATOR(pg_catalog.->>) 'extra', ''), true);
END
$$;
COMMENT ON FUNCTION audit.revert IS 'Undoes an event (event_id), a transaction (xact_id, perhaps of one target) or what happened to a row after a time (target, row_key, to_time). By default shows the statements, in the order in which they would run, and what stands against them; with dry_run => false and a reason runs them, with the caller''s rights, all or none. Rows that changed since are never overwritten: that is a conflict';
