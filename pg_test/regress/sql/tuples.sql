-- The tuples that capture forms itself are byte for byte what PostgreSQL forms of the same values.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_tuples;
SET search_path = regress_tuples;
CREATE EXTENSION pageinspect;
CREATE TABLE t (k text PRIMARY KEY, v text);
SELECT audit.attach('t');

-- Values around the sizes at which a header grows, alignment shifts, and a row goes out of line or is compressed.
INSERT INTO t SELECT repeat('k', n), repeat('v', n) FROM generate_series(1, 300) n;
UPDATE t SET v = v || 'x', k = k || 'y' WHERE length(k) % 3 = 0;
SELECT audit.set_context(request_id => repeat('r', 126), process_id => repeat('p', 127), reason => repeat('w', 125), is_local => false);
UPDATE t SET v = NULL WHERE length(k) % 5 = 0;
SET audit.context = '{"a": [1, 2, {"b": "c"}]}';
SET application_name = '';
DELETE FROM t WHERE length(k) % 7 = 0;
INSERT INTO t SELECT 'big' || n, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 200) i) FROM generate_series(1, 20) n;
TRUNCATE t;
COMMENT ON TABLE t IS 'a ddl event';

-- What PostgreSQL forms of the same values: OFFSET 0 keeps it from copying tuples whole.
SELECT tableoid::regclass::text AS month FROM audit.audit_events WHERE table_oid = 't'::regclass LIMIT 1 \gset
CREATE TABLE own (LIKE audit.audit_events);
INSERT INTO own SELECT (e).* FROM (SELECT e FROM audit.audit_events e WHERE tableoid = :'month'::regclass OFFSET 0) s;

CREATE FUNCTION tuples(relation regclass) RETURNS TABLE (event_id text, natts int, flags int, hoff int, bits text, data bytea)
LANGUAGE sql AS $$
    SELECT substr(encode(i.t_data, 'hex'), 1, 16), i.t_infomask2 & 2047, i.t_infomask & 7, i.t_hoff, i.t_bits,
           -- what is out of line has another place in each table
           CASE WHEN i.t_infomask & 4 = 0 THEN i.t_data END
    FROM generate_series(0, pg_relation_size(relation) / 8192 - 1) b,
         heap_page_items(get_raw_page(relation::text, b::int)) i
    WHERE i.t_data IS NOT NULL
$$;

SELECT count(*) > 500 AS many, count(*) FILTER (WHERE data IS NULL) > 0 AS some_out_of_line
FROM tuples(:'month');

SELECT a.event_id, a.natts, b.natts, a.flags, b.flags, a.hoff, b.hoff, a.bits = b.bits AS bits, a.data = b.data AS data
FROM tuples('own') b LEFT JOIN tuples(:'month') a USING (event_id)
WHERE (a.natts, a.flags, a.hoff, a.bits, a.data) IS DISTINCT FROM (b.natts, b.flags, b.hoff, b.bits, b.data);

-- And so are the entries of the indexes: those that PostgreSQL makes of the same rows are there.
CREATE FUNCTION entries(index regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT i.data
    FROM generate_series(1, pg_relation_size(index) / 8192 - 1) b, bt_page_stats(index::text, b::int) s,
         bt_page_items(index::text, b::int) i
    WHERE s.type = 'l' AND (s.btpo_next = 0 OR i.itemoffset > 1)
$$;
CREATE FUNCTION lacking(month regclass) RETURNS TABLE (columns text, entries bigint, lacking bigint) LANGUAGE plpgsql AS $$
DECLARE
    index regclass;
    own_index text;
BEGIN
    FOR index, columns IN
        SELECT i.indexrelid, substring(pg_get_indexdef(i.indexrelid) FROM 'USING (.*)') FROM pg_index i WHERE i.indrelid = month ORDER BY 2
    LOOP
        own_index := 'own_' || index::oid;
        EXECUTE format('CREATE INDEX %s ON own USING %s', own_index, columns);
        SELECT count(*) INTO entries FROM entries(own_index::regclass);
        SELECT count(*) INTO lacking FROM (SELECT entries(own_index::regclass) EXCEPT SELECT entries(index)) AS e;
        RETURN NEXT;
    END LOOP;
END
$$;
CREATE TABLE found AS SELECT * FROM lacking(:'month');
SELECT * FROM found WHERE lacking > 0;
SELECT count(*) >= 4 AS indexes, sum(entries) > 500 AS many FROM found;

DROP SCHEMA regress_tuples CASCADE;
