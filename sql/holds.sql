-- Legal holds: what they are, which events they cover.
CREATE VIEW audit.holds AS
WITH said AS (
    SELECT e.*, e.context ->> 'hold' AS name,
           pg_catalog.lag(e.action) OVER (PARTITION BY e.context ->> 'hold' ORDER BY e.event_id) AS before,
           pg_catalog.lead(e.event_id) OVER (PARTITION BY e.context ->> 'hold' ORDER BY e.event_id) AS after
    FROM audit.audit_events e
    WHERE e.operation = 'system' AND e.action IN ('hold', 'release hold')
)
SELECT h.name,
       r.event_id IS NULL AS active,
       audit.table_now(h.context ->> 'installation', h.table_oid, h.schema_name, h.table_name)::regclass AS target,
       CASE WHEN h.table_name IS NOT NULL THEN pg_catalog.format('%I.%I', h.schema_name, h.table_name) END AS table_name,
       h.row_key,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(h.context -> 'row_keys')) AS row_keys,
       h.context ->> 'request_id' AS request_id,
       (h.context ->> 'period')::tstzrange AS period,
       h.reason,
       h.captured_at AS placed_at,
       h.session_user_name AS placed_by,
       r.captured_at AS released_at,
       r.session_user_name AS released_by,
       r.reason AS release_reason,
       h.event_id,
       (SELECT h.table_oid FROM audit.installation i WHERE i.id::text = h.context ->> 'installation') AS table_oid
FROM said h LEFT JOIN said r ON r.event_id = h.after AND r.action = 'release hold'
WHERE h.action = 'hold';
COMMENT ON VIEW audit.holds IS 'Legal holds, released ones included: what an active one covers is neither pruned nor cleared nor erased';
COMMENT ON COLUMN audit.holds.name IS 'Its name';
COMMENT ON COLUMN audit.holds.active IS 'Whether it still holds';
COMMENT ON COLUMN audit.holds.target IS 'It covers events of this table alone; the table as it is called today';
COMMENT ON COLUMN audit.holds.table_name IS 'The table''s name when the hold was placed';
COMMENT ON COLUMN audit.holds.row_key IS 'It covers events of this row alone';
COMMENT ON COLUMN audit.holds.row_keys IS 'All keys that the row had had when the hold was placed';
COMMENT ON COLUMN audit.holds.request_id IS 'It covers events of this request alone';
COMMENT ON COLUMN audit.holds.period IS 'It covers events that occurred in this time alone';
COMMENT ON COLUMN audit.holds.reason IS 'Why it was placed';
COMMENT ON COLUMN audit.holds.placed_at IS 'When it was placed';
COMMENT ON COLUMN audit.holds.placed_by IS 'By which session user';
COMMENT ON COLUMN audit.holds.released_at IS 'When it was released';
COMMENT ON COLUMN audit.holds.released_by IS 'By which session user';
COMMENT ON COLUMN audit.holds.release_reason IS 'Why it was released';
COMMENT ON COLUMN audit.holds.event_id IS 'The event that placed it';
COMMENT ON COLUMN audit.holds.table_oid IS 'The table''s OID; NULL where the hold came with a restore';

CREATE FUNCTION audit.hold_with(name text, target regclass, row_key text, request_id text, period text, reason text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'hold_with_wrapper';
COMMENT ON FUNCTION audit.hold_with IS 'What audit.hold calls, with the period as text';

CREATE FUNCTION audit.period_text(period tstzrange) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' AS $$
    SELECT period::text
$$;
COMMENT ON FUNCTION audit.period_text IS 'A period as text that every session reads alike';

CREATE FUNCTION audit.hold(
    name text,
    target regclass DEFAULT NULL,
    row_key text DEFAULT NULL,
    request_id text DEFAULT NULL,
    period tstzrange DEFAULT NULL,
    reason text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit.hold_with(name, target, row_key, request_id, audit.period_text(period), reason)
$$;
COMMENT ON FUNCTION audit.hold IS 'Places a legal hold on the events that fulfil all conditions given: they are neither pruned nor cleared nor erased until it is released. Needs a reason. Returns the event that records it';

CREATE FUNCTION audit.release_hold(name text, reason text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'release_hold_wrapper';
COMMENT ON FUNCTION audit.release_hold IS 'Releases a legal hold';

-- A table's events: under which OIDs, and in which rows.
CREATE FUNCTION audit.table_oids(target regclass) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(DISTINCT o) FROM (
        SELECT target::oid
        UNION ALL
        SELECT e.table_oid FROM audit.audit_events e JOIN pg_class c ON c.oid = target JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE e.operation = 'system' AND e.action = 'attach' AND (e.schema_name, e.table_name) = (n.nspname, c.relname)
          AND (e.event_id <= audit.oid_floor() OR NOT EXISTS (SELECT FROM pg_class gone WHERE gone.oid = e.table_oid))) AS known (o)
$$;
COMMENT ON FUNCTION audit.table_oids IS 'The OIDs under which a table''s events are kept: its own, and those from before it was restored or made anew under its name';

CREATE FUNCTION audit.row_keys(target regclass, row_key text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    oids CONSTANT oid[] := audit.table_oids(target);
    keys text[] := ARRAY[row_key];
    next integer := 1;
BEGIN
    WHILE next <= cardinality(keys) LOOP
        keys := keys || ARRAY(
            SELECT e.old_row_key FROM audit.audit_events e
            WHERE e.table_oid = ANY (oids) AND e.row_key = keys[next] AND e.old_row_key <> ALL (keys)
            UNION
            SELECT e.row_key FROM audit.audit_events e
            WHERE e.table_oid = ANY (oids) AND e.old_row_key = keys[next] AND e.row_key <> ALL (keys));
        next := next + 1;
    END LOOP;
    RETURN QUERY SELECT DISTINCT unnest(keys);
END
$$;
COMMENT ON FUNCTION audit.row_keys IS 'All keys that a row had before or got later, and those of rows that had one of them: what a hold on the row covers';

CREATE VIEW audit.holds_in_force AS
SELECT h.name, h.table_name, h.target, h.table_oid, h.target::text AS target_name, h.request_id, h.period,
       CASE WHEN h.row_key IS NOT NULL
            THEN h.row_keys || h.row_key
                 || ARRAY(SELECT audit.row_keys(coalesce(h.table_oid, h.target::oid)::regclass, h.row_key)) END AS keys
FROM audit.holds h WHERE h.active;
COMMENT ON VIEW audit.holds_in_force IS 'The active holds, with the keys that their rows have had';
COMMENT ON COLUMN audit.holds_in_force.name IS 'The hold''s name';
COMMENT ON COLUMN audit.holds_in_force.table_name IS 'The table''s name when the hold was placed';
COMMENT ON COLUMN audit.holds_in_force.target IS 'The table';
COMMENT ON COLUMN audit.holds_in_force.table_oid IS 'Its OID, also when it is gone';
COMMENT ON COLUMN audit.holds_in_force.target_name IS 'The table''s name today';
COMMENT ON COLUMN audit.holds_in_force.request_id IS 'The request';
COMMENT ON COLUMN audit.holds_in_force.period IS 'The time';
COMMENT ON COLUMN audit.holds_in_force.keys IS 'The row''s keys; NULL: all rows';

-- `covers` is put into queries that have an event e and a hold h: one text, and no function call per event.
CREATE FUNCTION audit.hold_covers() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '((h.table_name IS NULL OR e.table_oid = h.target::oid OR e.table_oid = h.table_oid OR (e.table_name IS NOT NULL AND format(''%I.%I'', e.schema_name, e.table_name) IN (h.table_name, h.target_name)))
         AND (h.keys IS NULL OR e.row_key = ANY (h.keys) OR e.old_row_key = ANY (h.keys))
         AND (h.request_id IS NULL OR e.request_id = h.request_id)
         AND (h.period IS NULL OR e.occurred_at <@ h.period))'
$$;
COMMENT ON FUNCTION audit.hold_covers() IS 'The condition under which hold h covers event e';
