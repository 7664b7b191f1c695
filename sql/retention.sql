-- How long events stay: policies, holds, archives, prunes, clears, erasures. docs/retention.md is the administrator's page.
-- The log is the only state: what is in force is read from the system events that set it, which are never pruned.

-- Events from before a restore have another database's table OIDs; their tables are known by name.
CREATE FUNCTION audit.oid_floor() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(event_id), -9223372036854775808) FROM audit.epochs
$$;
COMMENT ON FUNCTION audit.oid_floor() IS 'Events up to this id came with a restore: their table OIDs are another database''s';

-- What policies and holds said of a table, as it is found today: by OID in the installation that said it, else by name.
CREATE FUNCTION audit.table_now(installation text, table_oid oid, schema_name text, table_name text) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT c.oid FROM pg_class c, audit.installation i WHERE c.oid = table_now.table_oid AND i.id::text = installation),
        CASE WHEN table_name IS NOT NULL THEN to_regclass(format('%I.%I', schema_name, table_name))::oid END)
$$;
COMMENT ON FUNCTION audit.table_now IS 'The table that an event names, as it is today; NULL where it is gone';

CREATE FUNCTION audit.interval_text(keep interval) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET IntervalStyle = 'postgres' AS $$
    SELECT keep::text
$$;
COMMENT ON FUNCTION audit.interval_text IS 'An interval as text, whatever the session''s IntervalStyle';

CREATE VIEW audit.retention_policies AS
WITH said AS (
    SELECT e.event_id, e.captured_at, e.session_user_name, e.table_oid, e.schema_name, e.table_name, e.category,
           e.action = 'drop retention' AS dropped,
           e.context ->> 'policy' AS policy,
           e.context ->> 'installation' AS installation,
           (e.context ->> 'keep')::interval AS keep,
           (e.context ->> 'max_events')::bigint AS max_events,
           coalesce((e.context ->> 'locked')::boolean, false) AS locked,
           coalesce((e.context ->> 'require_archive')::boolean, false) AS require_archive
    FROM audit.audit_events e
    WHERE e.operation = 'system' AND e.action IN ('set retention', 'drop retention')
), since AS (
    -- Once locked, a policy is at least what each of its settings since then said; dropping it says nothing.
    SELECT *, pg_catalog.bool_or(locked) OVER (PARTITION BY policy ORDER BY event_id) AS is_locked FROM said
), counted AS (
    SELECT *, pg_catalog.bool_or(is_locked) OVER (PARTITION BY policy) AS ever_locked,
           pg_catalog.row_number() OVER (PARTITION BY policy ORDER BY is_locked AND dropped, event_id DESC) AS age
    FROM since
), folded AS (
    SELECT policy,
           pg_catalog.bool_or(ever_locked) AS locked,
           pg_catalog.bool_or(require_archive) AS require_archive,
           CASE WHEN pg_catalog.bool_or(keep IS NULL) THEN '-infinity' ELSE pg_catalog.min(pg_catalog.now() - keep) END AS cutoff,
           CASE WHEN pg_catalog.bool_or(max_events IS NULL) THEN NULL ELSE pg_catalog.max(max_events) END AS max_events
    FROM counted
    WHERE CASE WHEN ever_locked THEN is_locked AND NOT dropped ELSE age = 1 AND NOT dropped END
    GROUP BY policy
)
SELECT f.policy,
       audit.table_now(c.installation, c.table_oid, c.schema_name, c.table_name)::regclass AS target,
       ARRAY(SELECT DISTINCT CASE WHEN s.table_name IS NOT NULL THEN pg_catalog.format('%I.%I', s.schema_name, s.table_name) END FROM said s
             WHERE s.policy = f.policy AND s.table_name IS NOT NULL ORDER BY 1) AS table_names,
       c.category,
       c.keep,
       f.max_events,
       f.locked,
       f.require_archive,
       f.cutoff,
       c.captured_at AS set_at,
       c.session_user_name AS set_by,
       c.event_id,
       ARRAY(SELECT DISTINCT s.table_oid FROM said s JOIN audit.installation i ON i.id::text = s.installation
             WHERE s.policy = f.policy AND s.table_oid IS NOT NULL) AS table_oids
FROM folded f JOIN counted c ON c.policy = f.policy AND c.age = 1;
COMMENT ON VIEW audit.retention_policies IS 'The policies in force, and what each applies to: a table, a category of application events, or (default) all that no other one covers';
COMMENT ON COLUMN audit.retention_policies.policy IS 'Its name: default, table …, category …';
COMMENT ON COLUMN audit.retention_policies.target IS 'The table, as it is called today; NULL where it is gone, and for other policies';
COMMENT ON COLUMN audit.retention_policies.table_names IS 'The names under which the table has had the policy';
COMMENT ON COLUMN audit.retention_policies.category IS 'The category of application events';
COMMENT ON COLUMN audit.retention_policies.keep IS 'How long its events stay; NULL: for ever';
COMMENT ON COLUMN audit.retention_policies.max_events IS 'How many of its newest events stay; NULL: all';
COMMENT ON COLUMN audit.retention_policies.locked IS 'Whether it can only be lengthened';
COMMENT ON COLUMN audit.retention_policies.require_archive IS 'Whether only archived events are pruned';
COMMENT ON COLUMN audit.retention_policies.cutoff IS 'Its events from before are due now';
COMMENT ON COLUMN audit.retention_policies.set_at IS 'When it was set last';
COMMENT ON COLUMN audit.retention_policies.set_by IS 'By which session user';
COMMENT ON COLUMN audit.retention_policies.event_id IS 'The event that set it';
COMMENT ON COLUMN audit.retention_policies.table_oids IS 'The OIDs under which the table has had the policy in this installation: its events are known by them when it is gone';

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

CREATE VIEW audit.archives AS
SELECT a.context ->> 'uri' AS uri,
       a.context ->> 'partition' AS partition,
       (a.context ->> 'first_event_id')::bigint AS first_event_id,
       (a.context ->> 'last_event_id')::bigint AS last_event_id,
       (a.context -> 'leaves' -> 0 ->> 0)::integer AS epoch,
       (a.context ->> 'count')::bigint AS events,
       a.context -> 'leaves' AS leaves,
       pg_catalog.decode(a.context ->> 'root', 'base64') AS root,
       pg_catalog.decode(a.context ->> 'manifest_sha256', 'hex') AS manifest_sha256,
       (a.context ->> 'archived_at')::timestamptz AS archived_at,
       a.captured_at AS verified_at,
       a.session_user_name AS recorded_by,
       a.event_id
FROM audit.audit_events a
WHERE a.operation = 'system' AND a.action = 'archive';
COMMENT ON VIEW audit.archives IS 'What stands, verified by reading it back, in archives outside the database';
COMMENT ON COLUMN audit.archives.uri IS 'Where the archive is';
COMMENT ON COLUMN audit.archives.partition IS 'The partition that was archived';
COMMENT ON COLUMN audit.archives.first_event_id IS 'The lowest event id in it';
COMMENT ON COLUMN audit.archives.last_event_id IS 'The highest event id in it';
COMMENT ON COLUMN audit.archives.epoch IS 'The (first) epoch of its leaves';
COMMENT ON COLUMN audit.archives.events IS 'How many events it has';
COMMENT ON COLUMN audit.archives.leaves IS 'Their leaves: runs [epoch, first, last]';
COMMENT ON COLUMN audit.archives.root IS 'The root over their leaves'' hashes';
COMMENT ON COLUMN audit.archives.manifest_sha256 IS 'SHA-256 of the archive''s manifest';
COMMENT ON COLUMN audit.archives.archived_at IS 'When it was written';
COMMENT ON COLUMN audit.archives.verified_at IS 'When it was verified by reading it back, and recorded';
COMMENT ON COLUMN audit.archives.recorded_by IS 'By which session user';
COMMENT ON COLUMN audit.archives.event_id IS 'The event that records it';

CREATE FUNCTION audit.record_archive(uri text, partition text, first_event_id bigint, last_event_id bigint, leaves jsonb, root bytea, manifest_sha256 bytea, archived_at timestamptz) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'record_archive_wrapper';
COMMENT ON FUNCTION audit.record_archive IS 'Records an archive that was verified by reading it back: what attest archive calls last. leaves are runs [epoch, first, last], root is the root over their leaves'' hashes; both are checked against the log. Returns the event that records it';

CREATE FUNCTION audit.set_retention(
    keep interval,
    target regclass DEFAULT NULL,
    category text DEFAULT NULL,
    max_events bigint DEFAULT NULL,
    locked boolean DEFAULT NULL,
    require_archive boolean DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'set_retention_wrapper';
COMMENT ON FUNCTION audit.set_retention IS 'How long events stay: of a table, of a category of application events, or by default. keep NULL: for ever; max_events: only so many of the newest. Whichever limit is passed, the event is due. A locked policy can only be lengthened. locked and require_archive NULL: as they are. Returns the policy''s name';

CREATE FUNCTION audit.drop_retention(target regclass DEFAULT NULL, category text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'drop_retention_wrapper';
COMMENT ON FUNCTION audit.drop_retention IS 'Drops a policy that is not locked: of a table, of a category, or the default one';

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

-- The row that has this key now, back through time. Transactions' changes of one row are ordered by when they were captured, for
-- both held the row's lock; within a statement, a row leaves a key before another one gets it.
CREATE FUNCTION audit.row_life(target regclass, row_key text) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    oids CONSTANT oid[] := audit.table_oids(target);
    key text := row_key;
    follows boolean := true;
    is_first boolean := true;
    until_time timestamptz := 'infinity';
    until_statement integer := 2147483647;
    e record;
BEGIN
    WHILE follows LOOP
        follows := false;
        FOR e IN
            SELECT * FROM (
                SELECT found.event_id, found.xact_id, found.statement_id, found.row_key AS new_key, found.old_row_key AS old_key,
                       min(found.captured_at) OVER (PARTITION BY found.xact_id) AS captured
                FROM audit.audit_events found
                WHERE found.table_oid = ANY (oids) AND (found.row_key = key OR found.old_row_key = key) AND found.operation <> 'system') AS known
            WHERE (captured, statement_id) < (until_time, until_statement)
            ORDER BY captured DESC, statement_id DESC, new_key = key DESC, event_id DESC
        LOOP
            IF e.new_key <> key THEN
                IF is_first THEN
                    RAISE EXCEPTION 'the row has another key now'
                        USING ERRCODE = 'object_not_in_prerequisite_state',
                              DETAIL = format('Its key became %s by event %s.', e.new_key, e.event_id),
                              HINT = 'Name the row by its last key: its former keys go along.';
                END IF;
                EXIT;
            END IF;
            is_first := false;
            RETURN NEXT e.event_id;
            IF e.old_key <> key THEN
                key := e.old_key;
                until_time := e.captured;
                until_statement := e.statement_id;
                follows := true;
                EXIT;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.row_life IS 'The events of the row that has this key, or had it last, under its former keys too; what pg_attest itself did, such as a hold on the row, is no event of the row';

-- Which events are due.
CREATE VIEW audit.log_partitions AS
SELECT c.oid::regclass AS partition,
       c.relname::text AS name,
       d.default_oid IS NOT NULL AS is_default,
       (pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\)'))[1]::timestamptz AS starts,
       (pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz AS ends
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
LEFT JOIN LATERAL (SELECT c.oid AS default_oid WHERE pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT') d ON true
WHERE i.inhparent = 'audit.audit_events'::regclass;
COMMENT ON VIEW audit.log_partitions IS 'The partitions of audit.audit_events, with their times';
COMMENT ON COLUMN audit.log_partitions.partition IS 'The partition';
COMMENT ON COLUMN audit.log_partitions.name IS 'Its name';
COMMENT ON COLUMN audit.log_partitions.is_default IS 'Whether it takes what no other one does';
COMMENT ON COLUMN audit.log_partitions.starts IS 'Its events occurred then or later';
COMMENT ON COLUMN audit.log_partitions.ends IS 'Its events occurred before then';

-- Readers may read the log as a whole and its default partition; the months are found by their bounds when a query is planned.
CREATE FUNCTION audit.partition_rows(part regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' AS $$
    SELECT CASE WHEN p.is_default THEN format('ONLY %s', p.partition)
                ELSE format('(SELECT * FROM audit.audit_events WHERE occurred_at >= %L AND occurred_at < %L)', p.starts, p.ends) END
    FROM audit.log_partitions p WHERE p.partition = part
$$;
COMMENT ON FUNCTION audit.partition_rows IS 'What a query reads the events of a partition from, without rights on the partition itself';

CREATE FUNCTION audit.retention_groups(part regclass)
RETURNS TABLE (is_event boolean, is_system boolean, table_oid oid, schema_name text, table_name text, category text, is_old boolean,
               policy text, events bigint, oldest timestamptz, newest timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH policies AS MATERIALIZED (SELECT *, target::text AS target_name FROM audit.retention_policies),
        counted AS (
            SELECT e.operation = 'event' AS is_event, e.operation = 'system' AS is_system, e.table_oid, e.schema_name, e.table_name,
                   e.category, e.event_id <= $1 AS is_old, count(*) AS events, min(e.occurred_at) AS oldest, max(e.occurred_at) AS newest
            FROM %s e GROUP BY 1, 2, 3, 4, 5, 6, 7)
        SELECT c.is_event, c.is_system, c.table_oid, c.schema_name, c.table_name, c.category, c.is_old,
               CASE WHEN NOT c.is_system THEN coalesce(
                   CASE WHEN c.is_event
                        THEN (SELECT p.policy FROM policies p WHERE p.category = c.category ORDER BY p.cutoff LIMIT 1)
                        ELSE (SELECT p.policy FROM policies p
                              WHERE p.table_names <> '{}'
                                AND ((NOT c.is_old AND (p.target::oid = c.table_oid OR c.table_oid = ANY (p.table_oids)))
                                     OR ((c.is_old OR NOT EXISTS (SELECT FROM pg_class known WHERE known.oid = c.table_oid))
                                         AND c.table_name IS NOT NULL AND format('%%I.%%I', c.schema_name, c.table_name) = ANY (p.table_names || p.target_name)))
                              ORDER BY (NOT c.is_old AND (p.target::oid = c.table_oid OR c.table_oid = ANY (p.table_oids))) IS TRUE DESC, p.cutoff LIMIT 1)
                   END,
                   (SELECT p.policy FROM policies p WHERE p.policy = 'default')) END,
               c.events, c.oldest, c.newest
        FROM counted c$query$, audit.partition_rows(part)) USING audit.oid_floor();
END
$$;
COMMENT ON FUNCTION audit.retention_groups IS 'The events of a partition by what decides their policy: application events by category, all others by table; what pg_attest itself did has none';

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

-- groups: those of retention_groups that have a policy, in order, each with cut_time and cut_id: what is before is due.
CREATE FUNCTION audit.due_events(part regclass, groups jsonb, after_id bigint, row_limit integer, everything boolean)
RETURNS TABLE (event_id bigint, place integer, held boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH holds AS MATERIALIZED (SELECT * FROM audit.holds_in_force),
        groups AS MATERIALIZED (
            SELECT (place - 1)::integer AS place, (g ->> 'is_event')::boolean AS is_event, coalesce((g ->> 'table_oid')::oid, 0) AS table_oid,
                   coalesce(g ->> 'schema_name', '') AS schema_name, coalesce(g ->> 'table_name', '') AS table_name,
                   coalesce(g ->> 'category', '') AS category, (g ->> 'is_old')::boolean AS is_old,
                   (g ->> 'cut_time')::timestamptz AS cut_time, (g ->> 'cut_id')::bigint AS cut_id
            FROM jsonb_array_elements($1) WITH ORDINALITY AS listed (g, place))
        SELECT e.event_id, g.place, g.place IS NOT NULL AND EXISTS (SELECT FROM holds h WHERE %3$s)
        FROM ONLY %1$s e
        %2$s JOIN groups g
          ON g.is_event = (e.operation = 'event') AND g.table_oid = coalesce(e.table_oid, 0)
         AND g.schema_name = coalesce(e.schema_name, '') AND g.table_name = coalesce(e.table_name, '')
         AND g.category = coalesce(e.category, '') AND g.is_old = (e.event_id <= $4)
         AND e.operation <> 'system' AND (e.occurred_at, e.event_id) < (g.cut_time, g.cut_id)
        WHERE e.event_id > $2
        ORDER BY e.event_id LIMIT $3$query$, part, CASE WHEN everything THEN 'LEFT' ELSE '' END, audit.hold_covers())
    USING groups, after_id, row_limit, audit.oid_floor();
END
$$;
COMMENT ON FUNCTION audit.due_events IS 'The events of a partition that are due, by ids; or everything, with no place for what is not';

CREATE FUNCTION audit.newest_kept(part regclass, groups jsonb, events bigint) RETURNS TABLE (cut_time timestamptz, cut_id bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        SELECT e.occurred_at, e.event_id FROM ONLY %s e
        WHERE e.operation <> 'system' AND EXISTS (
            SELECT FROM jsonb_array_elements($1) AS g
            WHERE (g ->> 'is_event')::boolean = (e.operation = 'event') AND (g ->> 'table_oid')::oid IS NOT DISTINCT FROM e.table_oid
              AND g ->> 'schema_name' IS NOT DISTINCT FROM e.schema_name AND g ->> 'table_name' IS NOT DISTINCT FROM e.table_name
              AND g ->> 'category' IS NOT DISTINCT FROM e.category AND (g ->> 'is_old')::boolean = (e.event_id <= $3))
        ORDER BY e.occurred_at DESC, e.event_id DESC OFFSET $2 - 1 LIMIT 1$query$, part) USING groups, events, audit.oid_floor();
END
$$;
COMMENT ON FUNCTION audit.newest_kept IS 'The oldest of the newest so many events of these groups in a partition';

CREATE FUNCTION audit.apply_retention(dry_run boolean DEFAULT true)
RETURNS TABLE (partition text, policy text, subject text, due bigint, held bigint, not_archived bigint, not_sealed bigint,
               pruned bigint, method text, oldest timestamptz, newest timestamptz)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'apply_retention_wrapper';
COMMENT ON FUNCTION audit.apply_retention IS 'Prunes what is due under the policies, or with dry_run tells what it would prune. All in one transaction: CALL audit.prune() does it in many';

CREATE FUNCTION audit.prune_batch() RETURNS TABLE (partition text, pruned bigint, finished boolean)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'prune_batch_wrapper';
COMMENT ON FUNCTION audit.prune_batch() IS 'The next step of a prune of this session: a batch of events, or a partition. What CALL audit.prune() repeats';

CREATE PROCEDURE audit.prune() LANGUAGE plpgsql AS $$
DECLARE
    step record;
BEGIN
    LOOP
        SELECT * INTO step FROM audit.prune_batch();
        COMMIT;
        EXIT WHEN step.finished OPERATOR(pg_catalog.=) true;
    END LOOP;
    PERFORM audit.seal();
    COMMIT;
END
$$;
COMMENT ON PROCEDURE audit.prune() IS 'Prunes what is due under the policies, a transaction for each batch or partition, and seals the log. Resumes where one that was broken off stopped';

CREATE FUNCTION audit.clear(category text, reason text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clear_wrapper';
COMMENT ON FUNCTION audit.clear IS 'Removes all application events of a category that no locked policy and no hold covers. Needs a reason; returns how many events they were';

CREATE FUNCTION audit.erase(target regclass, row_key text, reason text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'erase_wrapper';
COMMENT ON FUNCTION audit.erase IS 'Removes the values, keys and salts from all events of a row, under its former keys too; the events and their proofs stay. Refused under a hold. Needs a reason; returns how many events they were';

CREATE FUNCTION audit.wipe_free_space(part regclass DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'wipe_free_space_wrapper';
COMMENT ON FUNCTION audit.wipe_free_space IS 'After an erasure and a VACUUM of its partition: overwrites the free part of pages, where deleted values may stand until something else is written there. Of a partition of the log, its indexes and TOAST table, or of all; returns how many pages it wrote';

CREATE VIEW audit.cleanups AS
SELECT target, context ->> 'column' AS cleanup_column, (context ->> 'keep')::interval AS keep,
       captured_at AS attached_at, session_user_name AS attached_by, event_id
FROM (SELECT e.*, t.target, pg_catalog.row_number() OVER (PARTITION BY t.target ORDER BY e.event_id DESC) AS age
      FROM audit.audit_events e
      CROSS JOIN LATERAL (SELECT audit.table_now(e.context ->> 'installation', e.table_oid, e.schema_name, e.table_name)::regclass) AS t (target)
      WHERE e.operation = 'system' AND e.action IN ('attach cleanup', 'detach cleanup')) AS said
WHERE age = 1 AND action = 'attach cleanup' AND target IS NOT NULL;
COMMENT ON VIEW audit.cleanups IS 'The application''s tables whose old rows are deleted by upkeep';
COMMENT ON COLUMN audit.cleanups.target IS 'The table';
COMMENT ON COLUMN audit.cleanups.cleanup_column IS 'The column that tells a row''s age';
COMMENT ON COLUMN audit.cleanups.keep IS 'How long rows stay';
COMMENT ON COLUMN audit.cleanups.attached_at IS 'When the cleanup was attached';
COMMENT ON COLUMN audit.cleanups.attached_by IS 'By which session user';
COMMENT ON COLUMN audit.cleanups.event_id IS 'The event that records it';

CREATE FUNCTION audit.attach_cleanup(target regclass, cleanup_column text, keep interval) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'attach_cleanup_wrapper';
COMMENT ON FUNCTION audit.attach_cleanup IS 'Has upkeep delete the rows of a table that are older than keep, in batches, as the table''s owner. Needs ownership of the table. Again with other settings: changes them';

CREATE FUNCTION audit.detach_cleanup(target regclass) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'detach_cleanup_wrapper';
COMMENT ON FUNCTION audit.detach_cleanup IS 'Ends the cleanup of a table. Needs ownership of the table';

CREATE FUNCTION audit.retention_report()
RETURNS TABLE (month date, subject text, events bigint, oldest timestamptz, newest timestamptz, policy text, due_at timestamptz,
               holds text[], archived_in text[], pruned bigint, last_pruned_at timestamptz, pruned_under text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    FOR part IN SELECT p.partition, p.name, p.is_default, p.starts FROM audit.log_partitions p ORDER BY p.is_default, p.starts LOOP
        RETURN QUERY EXECUTE format($query$
            WITH policies AS MATERIALIZED (SELECT * FROM audit.retention_policies),
            groups AS MATERIALIZED (SELECT * FROM audit.retention_groups($1)),
            held AS MATERIALIZED (
                SELECT e.operation = 'event' AS is_event, e.schema_name, e.table_name, e.category, h.name
                FROM audit.holds_in_force h JOIN %s e ON e.operation <> 'system' AND %s GROUP BY 1, 2, 3, 4, 5)
            SELECT date_trunc('month', g.oldest AT TIME ZONE 'UTC')::date,
                   CASE WHEN g.is_system THEN 'pg_attest' WHEN g.is_event THEN coalesce('category ' || g.category, 'application events')
                        WHEN g.table_name IS NOT NULL THEN 'table ' || format('%%I.%%I', g.schema_name, g.table_name) ELSE 'others' END,
                   sum(g.events)::bigint, min(g.oldest), max(g.newest), g.policy, min(g.oldest + p.keep),
                   coalesce((SELECT array_agg(DISTINCT h.name ORDER BY h.name) FROM held h
                    WHERE (h.is_event, h.schema_name, h.table_name, h.category) IS NOT DISTINCT FROM (g.is_event, g.schema_name, g.table_name, g.category)), '{}'),
                   coalesce((SELECT array_agg(DISTINCT a.uri ORDER BY a.uri) FROM audit.archives a WHERE a.partition = $2), '{}'),
                   0::bigint, NULL::timestamptz, '{}'::text[]
            FROM groups g LEFT JOIN policies p ON p.policy = g.policy
            GROUP BY 1, 2, g.policy, g.is_event, g.schema_name, g.table_name, g.category$query$, audit.partition_rows(part.partition), audit.hold_covers())
        USING part.partition, part.name;
    END LOOP;
    RETURN QUERY
        SELECT to_date(substr(gone.part, 14), 'YYYY_MM'), gone.what, 0::bigint, min(gone.first), max(gone.last), NULL::text, NULL::timestamptz, '{}'::text[],
               coalesce((SELECT array_agg(DISTINCT a.uri ORDER BY a.uri) FROM audit.archives a WHERE a.partition = gone.part), '{}'),
               sum(gone.events)::bigint, max(gone.at), array_agg(DISTINCT gone.under)
        FROM (SELECT d.context ->> 'partition' AS part, coalesce(e ->> 'subject', 'category ' || d.category) AS what,
                     (e ->> 'oldest')::timestamptz AS first, (e ->> 'newest')::timestamptz AS last,
                     coalesce((e ->> 'events')::bigint, (d.context ->> 'count')::bigint) AS events,
                     d.captured_at AS at, coalesce(e ->> 'policy', 'clear: ' || d.reason) AS under
              FROM audit.audit_events d
              LEFT JOIN LATERAL jsonb_array_elements(CASE WHEN d.action = 'prune' THEN d.context -> 'events' END) AS e ON true
              WHERE d.operation = 'system' AND d.action IN ('prune', 'clear')) AS gone
        GROUP BY gone.part, gone.what;
END
$$;
COMMENT ON FUNCTION audit.retention_report() IS 'Per month and table or category: how many events there are, under which policy and holds, when the oldest is due, where they are archived; and what was pruned or cleared, when, and under what. Reads the whole log';
