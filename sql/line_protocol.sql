-- InfluxDB's line protocol: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/

CREATE FUNCTION audit.line_protocol_name(name text, special text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    -- The protocol has no escape for a line's end, nor for a backslash where it would be one itself: their pictures stand in for them.
    SELECT regexp_replace(
        regexp_replace(translate(name, E'\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f',
                                       '␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡'),
                       '\\(?=[, =\\]|$)', '＼', 'g'),
        '([' || special || '])', '\\\1', 'g')
$$;
COMMENT ON FUNCTION audit.line_protocol_name IS 'A measurement, tag or field key, or tag value of InfluxDB''s line protocol, with the special characters escaped. What the protocol cannot carry, control characters and a backslash before a special character or at the end, becomes its picture: ␊, ＼';

CREATE FUNCTION audit.line_protocol(measurement text, tags jsonb, fields jsonb, at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH tag (text) AS (
        SELECT string_agg(format(',%s=%s', audit.line_protocol_name(key, ', ='), audit.line_protocol_name(value, ', =')), ''
                          ORDER BY key COLLATE "C")
        FROM jsonb_each_text(tags) WHERE key <> '' AND value <> ''
    ), field (text) AS (
        SELECT string_agg(format('%s=%s', audit.line_protocol_name(key, ', ='), CASE jsonb_typeof(value)
                   WHEN 'boolean' THEN value::text
                   -- What has digits behind the point is a float, even if they are zeros: a field never changes its type.
                   WHEN 'number' THEN CASE WHEN scale(value::numeric) = 0 AND value::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
                                           THEN value::text || 'i' ELSE value::text END
                   ELSE '"' || replace(replace(value #>> '{}', '\', '\\'), '"', '\"') || '"' END), ',' ORDER BY key COLLATE "C")
        FROM jsonb_each(fields)
        WHERE key <> '' AND value <> 'null'
          AND CASE WHEN jsonb_typeof(value) = 'number' THEN abs(value::numeric) <= 1.7976931348623157e308 ELSE true END
    )
    SELECT format('%s%s %s %s', audit.line_protocol_name(measurement, ', '), tag.text, field.text,
                  (extract(epoch FROM at) * 1000000000)::bigint)
    FROM tag, field WHERE measurement <> '' AND field.text IS NOT NULL
$$;
COMMENT ON FUNCTION audit.line_protocol IS 'A point in InfluxDB''s line protocol. Fields: integers (no digits behind the point) get the suffix i, other numbers are floats, the rest strings; empty tags and NULL fields are left out; NULL where no field remains. The time is in nanoseconds';

CREATE FUNCTION audit.metrics_line_protocol(since timestamptz, until timestamptz, bucket interval DEFAULT '1 minute')
RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit.line_protocol('pg_attest_' || metric, tags || jsonb_build_object('database', current_database()),
                               jsonb_object_agg(field, value), at)
    FROM audit.metrics(bucket, since, until)
    GROUP BY at, metric, tags
    ORDER BY at, metric, tags
$$;
COMMENT ON FUNCTION audit.metrics_line_protocol IS 'audit.metrics as lines for InfluxDB''s /write: measurements pg_attest_events, pg_attest_requests, pg_attest_api, pg_attest_seal. Writing a period again replaces its points';
