-- Removing what is asked for: a category's events, a row's values, what is left of them on pages.
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

CREATE FUNCTION audit.clear(category text, reason text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'clear_wrapper';
COMMENT ON FUNCTION audit.clear IS 'Removes all application events of a category that no locked policy and no hold covers. Needs a reason; returns how many events they were';

CREATE FUNCTION audit.erase(target regclass, row_key text, reason text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'erase_wrapper';
COMMENT ON FUNCTION audit.erase IS 'Removes the values, keys and salts from all events of a row, under its former keys too; the events and their proofs stay. Refused under a hold. Needs a reason; returns how many events they were';

CREATE FUNCTION audit.wipe_free_space(part regclass DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'wipe_free_space_wrapper';
COMMENT ON FUNCTION audit.wipe_free_space IS 'After an erasure and a VACUUM of its partition: overwrites the free part of pages, where deleted values may stand until something else is written there. Of a partition of the log, its indexes and TOAST table, or of all; returns how many pages it wrote';
