-- The replay oracle: the events of a table, folded with their signs, minus its present rows,
-- leave nothing. `:table` stands for the table's name. Gives the number of row images that differ.
SELECT count(*)
FROM (
    SELECT image
    FROM (
        SELECT new_values AS image, 1 AS n
        FROM audit.audit_events
        WHERE table_oid = ':table'::regclass AND new_values IS NOT NULL
        UNION ALL
        SELECT old_values, -1
        FROM audit.audit_events
        WHERE table_oid = ':table'::regclass AND old_values IS NOT NULL
        UNION ALL
        SELECT to_jsonb(t), -1
        FROM :table t
    ) AS signed
    GROUP BY image
    HAVING sum(n) <> 0
) AS difference
