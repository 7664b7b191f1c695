-- How long events stay: the policies. docs/retention.md is the administrator's page.
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
    SELECT e.event_id, e.captured_at, e.session_user_name, e.table_oid, e.schema_name, e.table_name,
           -- Events of the first versions have it in a column.
           CASE WHEN pg_catalog.starts_with(e.context ->> 'policy', 'category ') THEN coalesce(e.category, e.context ->> 'category') END AS category,
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
           -- The longest of them. Days and months are counted in UTC: no session's time zone makes one shorter.
           (pg_catalog.array_agg(keep ORDER BY keep IS NULL DESC, (pg_catalog.now() AT TIME ZONE 'UTC') - keep))[1] AS keep,
           CASE WHEN pg_catalog.bool_or(keep IS NULL) THEN '-infinity'
                ELSE pg_catalog.min((pg_catalog.now() AT TIME ZONE 'UTC') - keep) AT TIME ZONE 'UTC' END AS cutoff,
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
       f.keep,
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
