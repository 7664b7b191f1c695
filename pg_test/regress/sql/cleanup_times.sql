-- Which rows audit.attach_cleanup() has deleted, to the microsecond: for every type of column, whatever the session's time zone.
SET client_min_messages = warning;
CREATE DATABASE regress_cleanup_times TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_cleanup_times
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
-- by their column; of a partitioned table, too
CREATE TABLE with_zone (at timestamptz, stays boolean);
CREATE TABLE without_zone (at timestamp, stays boolean);
CREATE TABLE days (at date, stays boolean);
CREATE TABLE parts (at timestamp, stays boolean) PARTITION BY LIST (stays);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (true);
CREATE TABLE part_2 PARTITION OF parts FOR VALUES IN (false);

-- Rows just before, at and behind the moment from which rows stay, and days around it: what is left of them is what should stay.
CREATE FUNCTION outcome(zone text, keep interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    edge CONSTANT timestamp := now() AT TIME ZONE 'UTC' - keep;
    target regclass;
    result text := '';
    is_right boolean;
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    FOREACH target IN ARRAY '{with_zone,without_zone,days,parts}'::regclass[] LOOP
        EXECUTE format('DELETE FROM %s', target);
        PERFORM audit.attach_cleanup(target, 'at', keep);
    END LOOP;
    INSERT INTO without_zone SELECT edge + n * interval '1 microsecond', n >= 0 FROM generate_series(-1, 1) n;
    INSERT INTO parts SELECT * FROM without_zone;
    INSERT INTO with_zone SELECT at AT TIME ZONE 'UTC', stays FROM without_zone;
    INSERT INTO days SELECT day, day >= edge FROM generate_series(edge::date - 2, edge::date + 2, interval '1 day') d, CAST(d AS date) day;
    PERFORM audit.maintain();
    FOREACH target IN ARRAY '{with_zone,without_zone,days,parts}'::regclass[] LOOP
        EXECUTE format('SELECT bool_and(stays) AND count(*) = 2 FROM %s', target) INTO is_right;
        result := concat_ws(' ', result, target, CASE WHEN is_right THEN 'right' ELSE 'wrong' END);
    END LOOP;
    RETURN result;
END
$$;
-- In the last two of these zones one day of the year is 30 hours longer, another one shorter.
SELECT keep, array_agg(zone ORDER BY place) AS zones, outcome
FROM unnest('{UTC,Europe/Zurich,America/New_York,Pacific/Kiritimati,Pacific/Pago_Pago,"A15B-15,J60/0,J305/0","A-15B15,J60/0,J305/0"}'::text[]) WITH ORDINALITY AS zones (zone, place),
     unnest('{1 microsecond,36 hours,1 day,90 days,1 month,7 years}'::interval[]) AS keeps (keep), outcome(zone, keep)
GROUP BY keep, outcome ORDER BY keep, outcome;

\c regression
DROP DATABASE regress_cleanup_times;
