-- Lineage: from a request to all its events, and from a row back to the requests that made it what it is.
--
-- Whatever the statistics say, what is looked for is a small part of the log: JIT, which would compile code for each partition, takes
-- seconds for what indexes find in milliseconds.

CREATE FUNCTION audit.process_path(process_id text, OUT ids text[], OUT names text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH RECURSIVE up (id, depth) AS (
        SELECT $1 COLLATE "C", 0 WHERE $1 IS NOT NULL
        UNION ALL
        SELECT s.process_id, up.depth + 1
        FROM up CROSS JOIN LATERAL (
            SELECT e.process_id FROM audit.audit_events e
            WHERE e.entity_type = 'process' AND e.entity_id = up.id AND e.operation = 'event' AND e.action = 'process started'
            ORDER BY e.event_id LIMIT 1) s
        WHERE s.process_id IS NOT NULL
    ) CYCLE id SET is_cycle USING seen
    SELECT coalesce(array_agg(up.id ORDER BY up.depth DESC), '{}'),
           coalesce(array_agg(coalesce(p.name, up.id) ORDER BY up.depth DESC), '{}')
    FROM up LEFT JOIN LATERAL (SELECT p.name FROM audit.processes p WHERE p.process_id = up.id LIMIT 1) p ON true
    WHERE NOT up.is_cycle
$$;
COMMENT ON FUNCTION audit.process_path IS 'A process and those that caused it, the first cause first: ids, and names where audit.begin_process told them';

CREATE FUNCTION audit.process_tree(request_id text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    tree text[] := '{}';
    grown text[];
BEGIN
    IF process_tree.request_id IS NULL THEN
        RAISE EXCEPTION 'request_id must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'The call does not say which request it is about.',
                  HINT = 'The column request_id of audit.audit_events has the ids.';
    END IF;
    grown := ARRAY(SELECT DISTINCT e.entity_id FROM audit.audit_events e
                   WHERE e.request_id = process_tree.request_id AND e.operation = 'event' AND e.action = 'process started' AND e.entity_type = 'process');
    WHILE cardinality(grown) > 0 LOOP
        tree := tree || grown;
        grown := ARRAY(SELECT DISTINCT e.entity_id FROM audit.audit_events e
                       WHERE e.process_id = ANY (grown) AND e.operation = 'event' AND e.action = 'process started' AND e.entity_type = 'process'
                         AND e.entity_id <> ALL (tree));
    END LOOP;
    RETURN tree;
END
$$;
COMMENT ON FUNCTION audit.process_tree IS 'The processes that a request started, and those that they started, whatever request these say they work for';

CREATE FUNCTION audit.lineage(request_id text)
RETURNS TABLE (
    place bigint,
    captured_at timestamptz,
    process_path text[],
    operation audit.operation,
    action text,
    schema_name text,
    table_name text,
    row_key text,
    changed_columns text[],
    app_user_id text,
    session_user_name text,
    reason text,
    request_id text,
    process_id text,
    process_ids text[],
    event_id bigint)
LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off AS $$
    WITH found AS MATERIALIZED (
        SELECT e.* FROM audit.audit_events e WHERE e.request_id = $1
        UNION ALL
        SELECT e.* FROM audit.audit_events e WHERE e.process_id = ANY ((SELECT audit.process_tree($1))::text[]) AND e.request_id IS DISTINCT FROM $1
    ), path AS MATERIALIZED (
        SELECT d.process_id, p.ids, p.names
        FROM (SELECT DISTINCT f.process_id FROM found f) d CROSS JOIN LATERAL audit.process_path(d.process_id) p
    )
    SELECT row_number() OVER (ORDER BY o.first_captured, o.xact_id, o.statement_id, o.event_id), o.captured_at, p.names, o.operation, o.action,
           o.schema_name, o.table_name, o.row_key, o.changed_columns, o.app_user_id, o.session_user_name, o.reason, o.request_id, o.process_id, p.ids, o.event_id
    FROM (SELECT f.*, min(f.captured_at) OVER (PARTITION BY f.xact_id, f.occurred_at) AS first_captured FROM found f) o
    JOIN path p ON p.process_id IS NOT DISTINCT FROM o.process_id
    ORDER BY 1
$$;
COMMENT ON FUNCTION audit.lineage IS 'Every event that a request caused, in order, with the path of processes that led to it: its own events, and those of the processes that it started, at any depth, whatever request they work for';

CREATE FUNCTION audit.row_lineage(target regclass, row_key text)
RETURNS TABLE (
    version bigint,
    captured_at timestamptz,
    operation audit.operation,
    changes jsonb,
    request_id text,
    process_path text[],
    reason text,
    app_user_id text,
    session_user_name text,
    effective_role text,
    process_id text,
    event_id bigint,
    life int)
LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT h.version, h.captured_at, h.operation, h.changes, h.request_id, p.names, h.reason, h.app_user_id, h.session_user_name,
           h.effective_role, h.process_id, h.event_id, h.life
    FROM audit.history(target, $2) h CROSS JOIN LATERAL audit.process_path(h.process_id) p
    ORDER BY h.version
$$;
COMMENT ON FUNCTION audit.row_lineage IS 'Each version of a row, oldest first, with the request and the path of processes that made it, the reason, and who';

CREATE FUNCTION audit.mermaid_text(words text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    -- # first: it begins the escapes. Mermaid's entities are HTML's with # in place of &. %% would begin a comment or a directive.
    -- \n would begin a new line, escaped or not: the backslash's picture stands in for it.
    SELECT regexp_replace(replace(replace(replace(replace(replace(replace(replace(replace(words,
        '#', '#35;'), '%', '#37;'), '&', '#amp;'), '"', '#quot;'), '<', '#lt;'), '>', '#gt;'), '`', '#96;'), '\n', '＼n'), '[[:cntrl:]]+', ' ', 'g')
$$;
COMMENT ON FUNCTION audit.mermaid_text IS 'Text as it may stand between quotation marks in a Mermaid diagram';

CREATE FUNCTION audit.lineage_graph(request_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH event AS MATERIALIZED (
        SELECT l.*, coalesce(l.schema_name || '.' || l.table_name, CASE WHEN l.action NOT IN ('process started', 'process ended') THEN 'application events' END) AS thing
        FROM audit.lineage($1) l
    ), step AS (
        SELECT s.id, s.parent, s.name, row_number() OVER (ORDER BY s.place, s.depth, s.id) AS n
        FROM (SELECT DISTINCT ON (u.id) u.id, w.ids[u.depth - 1] AS parent, w.names[u.depth] AS name, w.place, u.depth
              FROM (SELECT e.process_ids AS ids, e.process_path AS names, e.place FROM event e
                    UNION ALL
                    -- One that did nothing shows too.
                    SELECT p.ids, p.names, NULL FROM unnest(audit.process_tree($1)) t, audit.process_path(t) p) w
              CROSS JOIN LATERAL unnest(w.ids) WITH ORDINALITY u (id, depth) ORDER BY u.id, w.place) s
    ), process AS (
        SELECT s.*, p.actor, p.status FROM step s
        LEFT JOIN LATERAL (SELECT * FROM audit.processes p WHERE p.process_id = s.id LIMIT 1) p ON true
    ), thing AS (
        SELECT e.thing AS name, row_number() OVER (ORDER BY min(e.place)) AS n FROM event e WHERE e.thing IS NOT NULL GROUP BY e.thing
    ), work AS (
        SELECT w.thing, w.process_id, min(w.first) AS first,
               string_agg(w.count || ' ' || CASE WHEN w.operation = 'ddl' THEN 'DDL' ELSE w.operation || CASE WHEN w.count > 1 THEN 's' ELSE '' END END, ', ' ORDER BY w.first) AS counts
        FROM (SELECT e.thing, e.process_id, e.operation::text, count(*) AS count, min(e.place) AS first
              FROM event e WHERE e.thing IS NOT NULL GROUP BY 1, 2, 3) w
        GROUP BY w.thing, w.process_id
    ), line AS (
        SELECT 1 AS part, 0::bigint AS n, format('r["request %s<br/>%s events"]', audit.mermaid_text($1), (SELECT count(*) FROM event)) AS line
        UNION ALL
        SELECT 2, p.n, format('p%s["%s%s"]', p.n, audit.mermaid_text(p.name), coalesce('<br/>' || audit.mermaid_text(p.actor) || ', ' || audit.mermaid_text(p.status), ''))
        FROM process p
        UNION ALL
        SELECT 3, t.n, format(CASE WHEN t.name = 'application events' THEN 't%s(["%s"])' ELSE 't%s[("%s")]' END, t.n, audit.mermaid_text(t.name)) FROM thing t
        UNION ALL
        SELECT 4, p.n, format('%s --> p%s', coalesce('p' || q.n, 'r'), p.n) FROM process p LEFT JOIN process q ON q.id = p.parent
        UNION ALL
        SELECT 5, w.first, format('%s -->|"%s"| t%s', coalesce('p' || p.n, 'r'), w.counts, t.n)
        FROM work w JOIN thing t ON t.name = w.thing LEFT JOIN process p ON p.id = w.process_id
    )
    SELECT E'flowchart TD\n' || string_agg('    ' || l.line, E'\n' ORDER BY l.part, l.n) FROM line l
$$;
COMMENT ON FUNCTION audit.lineage_graph IS 'The lineage of a request as a Mermaid flowchart: the request, its processes, the tables that they wrote, and how much';
