-- Whatever stands in the schema audit says what it is: \df+, \d+, \dT+ and \dn+ show it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE TEMPORARY VIEW thing AS
    SELECT 'schema' AS kind, oid::regnamespace::text AS name, obj_description(oid, 'pg_namespace') AS comment FROM pg_namespace WHERE nspname = 'audit'
    UNION ALL
    SELECT 'function', oid::regprocedure::text, obj_description(oid, 'pg_proc') FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
    UNION ALL
    SELECT 'relation', oid::regclass::text, obj_description(oid, 'pg_class') FROM pg_class
    WHERE relnamespace = 'audit'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    -- A partition's columns are the log's.
    SELECT 'column', format('%s.%I', c.oid::regclass, a.attname), col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    -- But for the types that come with tables and with arrays.
    SELECT 'type', t.oid::regtype::text, obj_description(t.oid, 'pg_type')
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typnamespace = 'audit'::regnamespace AND t.typcategory <> 'A' AND (t.typtype <> 'c' OR c.relkind = 'c');
SELECT kind, name FROM thing WHERE coalesce(btrim(comment), '') = '' ORDER BY kind, name;
SELECT kind, count(*) >= min(least) AS are_there
FROM thing JOIN (VALUES ('schema', 1), ('function', 100), ('relation', 25), ('column', 200), ('type', 3)) AS expected (kind, least) USING (kind)
GROUP BY kind ORDER BY kind;
