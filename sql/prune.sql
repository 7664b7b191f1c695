-- Which events are due, and pruning them.
CREATE FUNCTION audit.month_bounds(part oid) RETURNS timestamptz[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET TimeZone = 'UTC' AS $$
    SELECT regexp_match(pg_get_expr(relpartbound, oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)')::timestamptz[] FROM pg_class WHERE oid = part
$$;
COMMENT ON FUNCTION audit.month_bounds IS 'From when until when the events of a partition occurred; NULL of the default partition. Bounds are printed as the session prints times, and not every session can read what it prints';

CREATE VIEW audit.log_partitions AS
SELECT c.oid::regclass AS partition,
       c.relname::text AS name,
       d.default_oid IS NOT NULL AS is_default,
       m.bounds[1] AS starts,
       m.bounds[2] AS ends
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
LEFT JOIN LATERAL (SELECT c.oid AS default_oid WHERE pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT') d ON true
CROSS JOIN LATERAL (SELECT audit.month_bounds(c.oid)) m (bounds)
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

-- As hold_covers is: a query text. $1 is audit.oid_floor().
CREATE FUNCTION audit.group_counting(source text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'SELECT e.operation = ''event'' AS is_event, e.operation = ''system'' AS is_system, e.table_oid, e.schema_name, e.table_name,
                   e.category, e.event_id <= $1 AS is_old, count(*) AS events, min(e.occurred_at) AS oldest, max(e.occurred_at) AS newest
            FROM ' || source || ' e GROUP BY 1, 2, 3, 4, 5, 6, 7'
$$;
COMMENT ON FUNCTION audit.group_counting IS 'The query that counts the events of a source by what decides their policy: application events by category, all others by table';

-- counts: what group_counting gives, counted before (src/retention/count.rs); NULL: it is counted here.
CREATE FUNCTION audit.retention_groups(part regclass, counts jsonb DEFAULT NULL)
RETURNS TABLE (is_event boolean, is_system boolean, table_oid oid, schema_name text, table_name text, category text, is_old boolean,
               policy text, events bigint, oldest timestamptz, newest timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH policies AS MATERIALIZED (SELECT *, target::text AS target_name FROM audit.retention_policies),
        counted AS (%s)
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
        FROM counted c$query$,
        CASE WHEN counts IS NULL THEN audit.group_counting(audit.partition_rows(part))
             ELSE 'SELECT * FROM jsonb_to_recordset($2) AS g (is_event boolean, is_system boolean, table_oid oid, schema_name text, table_name text,
                       category text, is_old boolean, events bigint, oldest timestamptz, newest timestamptz)' END)
    USING audit.oid_floor(), counts;
END
$$;
COMMENT ON FUNCTION audit.retention_groups IS 'The events of a partition by what decides their policy, and that policy; what pg_attest itself did has none';

-- groups: those of retention_groups that have a policy, in order, each with cut_time and cut_id: what is before is due. Few rows,
-- which are hashed: with the planner's 1,000, the events would be sorted.
CREATE FUNCTION audit.listed_groups(groups jsonb)
RETURNS TABLE (place integer, is_event boolean, table_oid oid, schema_name text, table_name text, category text, is_old boolean,
               cut_time timestamptz, cut_id bigint)
LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
    SELECT (place - 1)::integer, (g ->> 'is_event')::boolean, coalesce((g ->> 'table_oid')::oid, 0),
           coalesce(g ->> 'schema_name', ''), coalesce(g ->> 'table_name', ''), coalesce(g ->> 'category', ''), (g ->> 'is_old')::boolean,
           (g ->> 'cut_time')::timestamptz, (g ->> 'cut_id')::bigint
    FROM jsonb_array_elements(groups) WITH ORDINALITY AS listed (g, place)
$$;
COMMENT ON FUNCTION audit.listed_groups IS 'Groups of events as rows, to be joined with events';

-- As hold_covers is: put into queries that have an event e and a group g.
CREATE FUNCTION audit.group_has() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '(g.is_event = (e.operation = ''event'') AND g.table_oid = coalesce(e.table_oid, 0)
         AND g.schema_name = coalesce(e.schema_name, '''') AND g.table_name = coalesce(e.table_name, '''')
         AND g.category = coalesce(e.category, '''') AND g.is_old = (e.event_id <= (SELECT audit.oid_floor())) AND e.operation <> ''system'')'
$$;
COMMENT ON FUNCTION audit.group_has() IS 'The condition under which event e is one of group g';

CREATE FUNCTION audit.give_way() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'give_way_wrapper';
COMMENT ON FUNCTION audit.give_way() IS 'Part of pruning: true; lets whoever waits for this processor have it, for a query that runs beside those who write';

-- By slices of ids, each read by the primary key: a plan that joined before it limits would read all of the partition for each slice.
CREATE FUNCTION audit.next_events(part regclass, groups jsonb, after_id bigint, row_limit integer)
RETURNS TABLE (event_id bigint, place integer, held boolean, occurred_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH holds AS MATERIALIZED (SELECT * FROM audit.holds_in_force),
        groups AS MATERIALIZED (SELECT * FROM audit.listed_groups($1))
        SELECT e.event_id, g.place, g.place IS NOT NULL AND EXISTS (SELECT FROM holds h WHERE %s), e.occurred_at
        FROM (SELECT * FROM ONLY %s WHERE event_id > $2 AND audit.give_way() ORDER BY event_id LIMIT $3) e
        LEFT JOIN groups g ON %s AND (e.occurred_at, e.event_id) < (g.cut_time, g.cut_id)$query$, audit.hold_covers(), part, audit.group_has())
    USING groups, after_id, row_limit;
END
$$;
COMMENT ON FUNCTION audit.next_events IS 'The next events of a partition by ids, in any order, with the place of their group where they are due, whether a hold covers them, and their time';

CREATE FUNCTION audit.newest_kept(parts regclass[], groups jsonb, events bigint) RETURNS TABLE (cut_time timestamptz, cut_id bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH groups AS MATERIALIZED (SELECT * FROM audit.listed_groups($1))
        SELECT e.occurred_at, e.event_id FROM (%s) e
        WHERE EXISTS (SELECT FROM groups g WHERE %s)
        ORDER BY e.occurred_at DESC, e.event_id DESC OFFSET $2 - 1 LIMIT 1$query$,
        (SELECT string_agg(format('SELECT * FROM ONLY %s', part), ' UNION ALL ') FROM unnest(parts) AS part), audit.group_has())
    USING groups, events;
END
$$;
COMMENT ON FUNCTION audit.newest_kept IS 'The oldest of the newest so many events of these groups in some partitions';

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

-- See src/retention/emptied.rs. Its rows are not to be read: their values out of line are those of another TOAST table. So autovacuum passes it
-- by, and ANALYZE looks at none of its columns.
CREATE TABLE audit.emptied_month (LIKE audit.audit_events INCLUDING COMMENTS) USING heap WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
COMMENT ON TABLE audit.emptied_month IS 'The storage of a month that CALL audit.prune() or the background worker emptied, while it goes back to the file system bit by bit; else empty. Its rows are no events any more, and not to be read';
DO $$
BEGIN
    EXECUTE (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE audit.emptied_month ALTER COLUMN %I SET STATISTICS 0;', attname), ' ')
             FROM pg_catalog.pg_attribute WHERE attrelid = 'audit.emptied_month'::regclass AND attnum > 0);
END
$$;
