-- The replay oracle: folds the events of a table and compares with its rows.
--
-- Signed fold from the last attach on: an event adds its new_values to the multiset of rows and takes its old_values away; TRUNCATE empties it.
-- Rows: `rows differ` where the fold's result is not the table's content; `negative` where a statement left a count
-- below zero, that is, where events stand in the wrong order. No row: the trail is right.
-- Images are compared as text, so that 1.5 and 1.50 differ.
CREATE FUNCTION replay_mismatches(target regclass)
RETURNS TABLE (problem text, image text, trail bigint, stored bigint)
LANGUAGE plpgsql
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    s record;
    masks text;
    stored_image text;
BEGIN
    SELECT exclude, mask INTO STRICT s FROM audit.attachments a WHERE a.target = replay_mismatches.target;
    stored_image := format('to_jsonb(replay_row) - %L::text[]', s.exclude);
    SELECT coalesce(string_agg(format(' || CASE WHEN replay_row.%I IS NULL THEN ''{}'' ELSE jsonb_build_object(%L, ''***''::text) END', m, m), ''), '')
      INTO masks FROM unnest(s.mask) m;
    stored_image := stored_image || masks;
    RETURN QUERY EXECUTE format($q$
        WITH e AS (
            SELECT *, count(*) FILTER (WHERE operation = 'truncate') OVER o AS era,
                   row_number() OVER o AS place
            FROM audit.audit_events
            WHERE table_oid = %1$s AND operation IN ('insert', 'update', 'delete', 'truncate', 'snapshot')
              AND captured_at >= (SELECT coalesce(max(captured_at), '-infinity') FROM audit.audit_events
                                  WHERE table_oid = %1$s AND action = 'attach')
            WINDOW o AS (ORDER BY xact_id, statement_id, event_id)
        ), signed AS (
            SELECT era, xact_id, statement_id, new_values::text AS image, 1 AS sign FROM e WHERE new_values IS NOT NULL
            UNION ALL
            SELECT era, xact_id, statement_id, old_values::text, -1 FROM e WHERE old_values IS NOT NULL
        ), statements AS (
            SELECT era, xact_id, statement_id, image, sum(sign) AS change FROM signed GROUP BY 1, 2, 3, 4
        ), running AS (
            SELECT image, sum(change) OVER (PARTITION BY era, image ORDER BY xact_id, statement_id) AS total FROM statements
        ), fold AS (
            SELECT image, sum(change)::bigint AS n FROM statements
            WHERE era = (SELECT max(era) FROM e) GROUP BY image HAVING sum(change) <> 0
        ), rows AS (
            SELECT (%2$s)::text AS image, count(*) AS n FROM %3$s replay_row GROUP BY 1
        )
        SELECT 'rows differ', coalesce(fold.image, rows.image), coalesce(fold.n, 0), coalesce(rows.n, 0)
        FROM fold FULL JOIN rows ON rows.image = fold.image WHERE fold.n IS DISTINCT FROM rows.n
        UNION ALL
        SELECT 'negative', image, total::bigint, NULL FROM running WHERE total < 0
        $q$, target::oid, stored_image,
        (SELECT CASE WHEN relkind = 'p' THEN '' ELSE 'ONLY ' END FROM pg_catalog.pg_class WHERE oid = target) || target);
END
$$;
