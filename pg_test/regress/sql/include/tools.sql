-- Views and functions of the tests, made in the current schema. The caller sets ECHO to none.
\getenv inputdir PG_ABS_SRCDIR
\set replay :inputdir '/sql/include/replay.sql'
\i :replay

-- Events without what differs from run to run; statements are counted within their transaction.
CREATE VIEW trail AS
SELECT xact_id, statement_id, event_id,
       dense_rank() OVER (PARTITION BY xact_id ORDER BY statement_id) AS statement,
       operation AS op, schema_name, table_name AS tab, row_key AS key, old_row_key AS old_key,
       old_values AS old, new_values AS new, changed_columns AS changed, action, reason, context,
       context ->> 'command' AS command, session_user_name, effective_role
FROM audit.audit_events
ORDER BY xact_id, statement_id, event_id;

CREATE TABLE seen AS SELECT coalesce(max(event_id), 0) AS event_id FROM audit.audit_events;

-- The events since the last look.
CREATE FUNCTION look() RETURNS SETOF trail LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.* FROM trail t
        WHERE t.event_id > (SELECT s.event_id FROM seen s) ORDER BY t.xact_id, t.statement_id, t.event_id;
    UPDATE seen SET event_id = coalesce((SELECT max(e.event_id) FROM audit.audit_events e), 0);
END
$$;
