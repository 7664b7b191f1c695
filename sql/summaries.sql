-- What pages of events are found by: ranges of event ids, and which values their events have. src/summaries makes them behind
-- the writers; docs/design-decisions.md, "Pages of events", tells why there are no indexes in their place.

CREATE TABLE audit.event_ranges (
    last_id       bigint      PRIMARY KEY,
    first_id      bigint      NOT NULL,
    events        integer     NOT NULL,
    is_stale      boolean     NOT NULL DEFAULT false,
    occurred_from timestamptz NOT NULL,
    occurred_to   timestamptz NOT NULL,
    captured_from timestamptz NOT NULL,
    captured_to   timestamptz NOT NULL,
    xact_from     xid8        NOT NULL,
    xact_to       xid8        NOT NULL
) USING heap;
CREATE INDEX event_ranges_stale_idx ON audit.event_ranges (last_id) WHERE is_stale;
COMMENT ON TABLE audit.event_ranges IS 'The log in ranges of event ids that are summarised: no event that comes later has an id up to the last one''s';
COMMENT ON COLUMN audit.event_ranges.last_id IS 'Its highest event id';
COMMENT ON COLUMN audit.event_ranges.first_id IS 'Its lowest event id';
COMMENT ON COLUMN audit.event_ranges.events IS 'How many events it has';
COMMENT ON COLUMN audit.event_ranges.is_stale IS 'Whether events were removed since: upkeep summarises it again';
COMMENT ON COLUMN audit.event_ranges.occurred_from IS 'The earliest occurred_at in it';
COMMENT ON COLUMN audit.event_ranges.occurred_to IS 'The latest occurred_at in it';
COMMENT ON COLUMN audit.event_ranges.captured_from IS 'The earliest captured_at in it';
COMMENT ON COLUMN audit.event_ranges.captured_to IS 'The latest captured_at in it';
COMMENT ON COLUMN audit.event_ranges.xact_from IS 'The lowest xact_id in it';
COMMENT ON COLUMN audit.event_ranges.xact_to IS 'The highest xact_id in it';

CREATE TYPE audit.summarized AS ENUM
    ('target', 'session_user_name', 'operation', 'changed_column', 'app_user_id', 'tenant_id', 'session_id', 'category', 'severity', 'action', 'entity_type', 'request_id', 'process_id');
COMMENT ON TYPE audit.summarized IS 'What is summarised of events: filters of audit.events, under their names';

CREATE TABLE audit.range_values (
    last_id bigint           NOT NULL,
    events  integer          NOT NULL,
    filter  audit.summarized NOT NULL,
    value   text COLLATE "C" NOT NULL,
    ids     bigint[],
    PRIMARY KEY (filter, value, last_id)
) USING heap;
COMMENT ON TABLE audit.range_values IS 'Which values the events of a range have: a row for each of them; of requests and processes, for large ones alone';
COMMENT ON COLUMN audit.range_values.last_id IS 'The range: audit.event_ranges';
COMMENT ON COLUMN audit.range_values.events IS 'How many of its events have the value';
COMMENT ON COLUMN audit.range_values.filter IS 'What is summarised';
COMMENT ON COLUMN audit.range_values.value IS 'The value; of target the table''s OID';
COMMENT ON COLUMN audit.range_values.ids IS 'The events that have it, where they are few; NULL: more';

CREATE TABLE audit.range_texts (
    last_id  bigint PRIMARY KEY,
    trigrams bytea  NOT NULL
) USING heap;
COMMENT ON TABLE audit.range_texts IS 'What the texts of a range are made of: the ranges in which a search may find something';
COMMENT ON COLUMN audit.range_texts.last_id IS 'The range: audit.event_ranges';
COMMENT ON COLUMN audit.range_texts.trigrams IS 'A set of 8,192 bits: one for every three bytes in a row of descriptions, names of entities and actions in lower case; one bit may stand for several';

-- Nobody writes them but the extension; a dump has none, for a restored log is summarised anew.
DO $$
DECLARE
    summary text;
BEGIN
    FOREACH summary IN ARRAY ARRAY['event_ranges', 'range_values', 'range_texts'] LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE ON audit.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.guard()', summary);
        EXECUTE pg_catalog.format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.guard()', summary);
        EXECUTE pg_catalog.format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER refuse_write, ENABLE ALWAYS TRIGGER refuse_truncate', summary);
    END LOOP;
END
$$;

CREATE FUNCTION audit.summarize_events(most integer DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'summarize_events_wrapper';
COMMENT ON FUNCTION audit.summarize_events IS 'Summarises the sealed events that no range covers yet, in whole ranges, and ranges that events were removed from; at most so many ranges. Returns how many events they have. The background worker and audit.maintain() do it by themselves';

CREATE FUNCTION audit.search_trigrams(pattern text) RETURNS bytea
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'search_trigrams_wrapper';
COMMENT ON FUNCTION audit.search_trigrams IS 'Part of audit.events: the bits that audit.range_texts has wherever a text fulfils ILIKE with this pattern, %text%';

CREATE FUNCTION audit.has_trigrams(trigrams bytea, wanted bytea) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'has_trigrams_wrapper';
COMMENT ON FUNCTION audit.has_trigrams IS 'Part of audit.events: whether a set of trigrams has all that are wanted';

-- A group is large from so many events on that its index is no longer the shortest way to a page. Plans are kept: they cost more than what they do.
CREATE FUNCTION audit.large_groups(filter audit.summarized, groups jsonb, sampled jsonb) RETURNS TABLE (value text, is_new boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    few CONSTANT bigint := 500;
BEGIN
    RETURN QUERY
        SELECT g.value, false FROM jsonb_array_elements_text(groups) AS g (value)
        WHERE (SELECT max(v.last_id) FROM audit.range_values v WHERE v.filter = large_groups.filter AND v.value = g.value) IS NOT NULL;
    RETURN QUERY
        SELECT g.value, true FROM jsonb_array_elements_text(sampled) AS g (value)
        WHERE (SELECT max(v.last_id) FROM audit.range_values v WHERE v.filter = large_groups.filter AND v.value = g.value) IS NULL
          AND (SELECT count(*) FROM (
                   SELECT 1 FROM audit.audit_events e WHERE large_groups.filter = 'request_id' AND e.request_id = g.value
                   UNION ALL
                   SELECT 1 FROM audit.audit_events e WHERE large_groups.filter = 'process_id' AND e.process_id = g.value
                   LIMIT few + 1) AS first_ones) > few;
END
$$;
COMMENT ON FUNCTION audit.large_groups IS 'Part of audit.summarize_events: of these requests or processes the large ones; new are those of the sampled that are large and not summarised yet';

CREATE FUNCTION audit.group_ranges(filter audit.summarized, value text) RETURNS TABLE (last_id bigint, events integer, ids bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    highest CONSTANT bigint := (SELECT max(last_id) FROM audit.event_ranges);
BEGIN
    IF highest IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        -- As src/summaries/range.rs counts.
        SELECT r.last_id, count(*)::integer, CASE WHEN count(*) <= 32 THEN array_agg(e.event_id ORDER BY e.event_id) END
        FROM (SELECT e.event_id FROM audit.audit_events e WHERE group_ranges.filter = 'request_id' AND e.request_id = group_ranges.value
              UNION ALL
              SELECT e.event_id FROM audit.audit_events e WHERE group_ranges.filter = 'process_id' AND e.process_id = group_ranges.value) AS e
        CROSS JOIN LATERAL (SELECT r.last_id, r.first_id FROM audit.event_ranges r WHERE r.last_id >= e.event_id ORDER BY r.last_id LIMIT 1) AS r
        WHERE e.event_id + 0 <= highest AND e.event_id >= r.first_id
        GROUP BY r.last_id;
END
$$;
COMMENT ON FUNCTION audit.group_ranges IS 'Part of audit.summarize_events: what audit.range_values has to say of a request or process in the ranges that there are';

-- Inlined into the query that calls it, which plans for the period at hand.
CREATE FUNCTION audit.events_between(since timestamptz, until timestamptz) RETURNS SETOF audit.audit_events
LANGUAGE sql STABLE AS $$
    SELECT e.* FROM audit.audit_events e
    WHERE e.occurred_at OPERATOR(pg_catalog.>=) since AND e.occurred_at OPERATOR(pg_catalog.<) until
      AND e.event_id OPERATOR(pg_catalog.>=) (
          SELECT pg_catalog.min(r.first_id) FROM audit.event_ranges r
          WHERE r.occurred_to OPERATOR(pg_catalog.>=) since AND r.occurred_from OPERATOR(pg_catalog.<) until)
      AND e.event_id OPERATOR(pg_catalog.<=) (
          SELECT pg_catalog.max(r.last_id) FROM audit.event_ranges r
          WHERE r.occurred_to OPERATOR(pg_catalog.>=) since AND r.occurred_from OPERATOR(pg_catalog.<) until)
    UNION ALL
    SELECT e.* FROM audit.audit_events e
    WHERE e.occurred_at OPERATOR(pg_catalog.>=) since AND e.occurred_at OPERATOR(pg_catalog.<) until
      AND e.event_id OPERATOR(pg_catalog.>) coalesce((SELECT pg_catalog.max(r.last_id) FROM audit.event_ranges r), -9223372036854775808)
      -- Of a range of ids the planner expects few events, of one that is open to one side a third of the log.
      AND e.event_id OPERATOR(pg_catalog.<=) 9223372036854775807
$$;
COMMENT ON FUNCTION audit.events_between IS 'The events of a period, since included, until not: read from where the summaries say that they are';

CREATE FUNCTION audit.ids_condition(ranges bigint[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH part AS (
        SELECT min(first_id) AS first_id, max(last_id) AS last_id
        FROM (SELECT r.first_id, r.last_id, r.place - row_number() OVER (ORDER BY r.place) AS island
              FROM (SELECT first_id, last_id, row_number() OVER (ORDER BY last_id) AS place FROM audit.event_ranges) r
              WHERE r.last_id = ANY (ranges)) AS meant
        GROUP BY island
    ), few AS (
        -- A transaction that took long lies apart from what was written with its last events. More than some parts are not worth telling apart.
        SELECT min(first_id) AS first_id, max(last_id) AS last_id
        FROM (SELECT p.*, ntile(16) OVER (ORDER BY p.last_id) AS tile FROM part p) AS tiled GROUP BY tile
    )
    SELECT format('(%se.event_id BETWEEN %L AND 9223372036854775807)',
                  (SELECT string_agg(format('e.event_id BETWEEN %L AND %L OR ', first_id, last_id), '') FROM few),
                  (SELECT coalesce(max(last_id) + 1, -9223372036854775808) FROM audit.event_ranges))
$$;
COMMENT ON FUNCTION audit.ids_condition IS 'The condition that an event e may lie in one of these ranges (their last ids), or that no range covers it yet';
