-- case 12: what an event holds of a value of each type is what to_jsonb gives under the pinned settings, whatever the session's are.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_types;
SET search_path = regress_types;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\getenv inputdir PG_ABS_SRCDIR
\set replay :inputdir '/sql/include/replay.sql'
\set ECHO none
\i :replay
\set ECHO all
CREATE EXTENSION hstore SCHEMA regress_types;
CREATE EXTENSION citext SCHEMA regress_types;
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'hap"py');
CREATE TYPE comp AS (a int, b text, c timestamptz);
CREATE TYPE comp2 AS (x comp, y comp[]);
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN positive2 AS positive;
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN comp_domain AS comp;
CREATE DOMAIN int_array AS int[];
CREATE DOMAIN json_domain AS json;

-- One column per type, one value per row: a table of (type, value as text).
CREATE TABLE sample (nr int GENERATED ALWAYS AS IDENTITY, type text, value text);
INSERT INTO sample (type, value) VALUES
    ('bool', 't'), ('bool', 'f'),
    ('int2', '-32768'), ('int4', '-2147483648'), ('int8', '9223372036854775807'), ('int8', '-9223372036854775808'),
    ('float4', '0.1'), ('float4', 'NaN'), ('float4', 'Infinity'), ('float4', '-0'), ('float4', '1e38'), ('float4', '123456.789'),
    ('float8', '0.30000000000000004'), ('float8', 'NaN'), ('float8', '-Infinity'), ('float8', '-0'), ('float8', '1e-300'), ('float8', '1e22'),
    ('numeric', '1.50'), ('numeric', 'NaN'), ('numeric', 'Infinity'), ('numeric', '-Infinity'), ('numeric', '0'), ('numeric', '0.000'), ('numeric', '1e-100'),
    ('numeric', '-123456789012345678901234567890.123456789000'), ('numeric', '1e1000'), ('numeric(10,2)', '1.5'), ('numeric(3,-2)', '12345'),
    ('money', '$1,234.56'), ('money', '-92233720368547758.08'),
    ('text', ''), ('text', E'te"x\\t\t\n\x01 ü€😀'), ('varchar(20)', 'x '), ('char(10)', 'padded'), ('"char"', 'c'), ('"char"', ''), ('name', 'na me'),
    ('bytea', ''), ('bytea', '\x00ff01'),
    ('date', '2024-01-02'), ('date', '2024-01-02 BC'), ('date', 'infinity'), ('date', '-infinity'), ('date', '5874897-12-31'),
    ('timestamp', '2024-07-01 12:00:00.123456'), ('timestamp', 'infinity'), ('timestamp', '4713-01-01 00:00 BC'), ('timestamp', '294276-12-31 23:59:59.999999'),
    ('timestamptz', '2024-07-01 12:00:00.123456+05'), ('timestamptz', '-infinity'), ('timestamptz', '4713-01-01 00:00+00 BC'), ('timestamptz(0)', '2024-07-01 12:00:00.5+00'),
    ('time', '24:00'), ('timetz', '12:00:00+05:30'), ('interval', '1 year 2 mons -3 days 04:05:06.789'), ('interval', '0'),
    ('json', '{"a" :  1.50, "a":2}'), ('json', 'null'), ('json', '"x"'), ('json', '[1e5]'), ('jsonb', '{"a":1.50}'), ('jsonb', 'null'), ('jsonb', '"s"'), ('jsonb', '[]'),
    ('jsonpath', '$.a[*] ? (@ > 1)'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('xml', '<a>x</a>'),
    ('bit(5)', '10101'), ('varbit', ''), ('varbit', '1'),
    ('inet', '10.1.2.3/24'), ('inet', '::1'), ('cidr', '10.0.0.0/8'), ('macaddr', '08:00:2b:01:02:03'), ('macaddr8', '08:00:2b:01:02:03:04:05'),
    ('point', '(1,2.5)'), ('line', '{1,2,3}'), ('lseg', '[(0,0),(1,1)]'), ('box', '((0,0),(1,1))'), ('path', '[(0,0),(1,1)]'), ('polygon', '((0,0),(1,1))'), ('circle', '<(0,0),1.1>'),
    ('tsvector', '''a b'':1A c'), ('tsquery', 'a & !b'),
    ('oid', '4294967295'), ('xid', '5'), ('cid', '6'), ('tid', '(1,2)'), ('xid8', '12345678901'), ('pg_lsn', '1/ABC'), ('pg_snapshot', '10:20:10,14'),
    ('regclass', 'regress_types.sample'), ('regclass', '0'), ('regproc', 'now'), ('regprocedure', 'abs(int)'), ('regtype', 'regress_types.comp'), ('regrole', 'pg_monitor'),
    ('regnamespace', 'regress_types'), ('regoper', '!!'), ('regoperator', '+(int,int)'), ('regcollation', '"C"'), ('regconfig', 'english'), ('regdictionary', 'simple'),
    ('oidvector', '1 2 3'), ('int2vector', '4 5'),
    ('mood', 'hap"py'), ('mood', 'o''k'), ('positive', '5'), ('positive2', '7'), ('moment', '2024-01-01 00:00+00'), ('int_array', '{1,NULL}'), ('json_domain', '{"z":1, "y": null}'),
    ('comp', '(1,"x y",2024-01-01 00:00+00)'), ('comp', '(,,)'), ('comp_domain', '(1,x,2024-01-01 00:00+00)'), ('comp2', '("(1,x,2024-01-01 00:00+00)","{""(2,y,)"",NULL}")'),
    ('int[]', '{}'), ('int[]', '{1,NULL,3}'), ('int[]', '[2:3][0:1]={{1,2},{3,4}}'), ('text[]', '{a,"b c",NULL,"NULL"}'), ('comp[]', '{"(1,a,2024-01-01 00:00+00)",NULL}'),
    ('mood[]', '{sad,"o''k"}'), ('timestamptz[]', '{"2024-01-01 00:00+00",-infinity}'), ('json[]', '{"{\"a\":1}","null"}'), ('jsonb[]', '{1}'), ('positive[]', '{1,2}'),
    ('bytea[]', '{"\\x01"}'), ('interval[]', '{"1 day 01:00"}'), ('money[]', '{$1.00}'), ('float8[]', '{NaN,0.1,-Infinity}'), ('numeric[]', '{NaN,1.50,1e-5}'),
    ('int4range[]', '{"[1,2]",empty}'), ('name[]', '{a}'), ('"char"[]', '{a}'), ('char(3)[]', '{ab}'), ('regclass[]', '{regress_types.sample}'), ('date[]', '{2024-01-01}'), ('bool[]', '{t,f}'),
    ('int4range', '[1,5)'), ('int4range', 'empty'), ('numrange', '(,1.50]'), ('tstzrange', '[2024-01-01 00:00+00,)'), ('daterange', '[2024-01-01,infinity]'), ('float_range', '[1.1,2.2]'),
    ('int4multirange', '{[1,3),[5,7)}'), ('tstzmultirange', '{[2024-01-01 00:00+00,2024-01-02 00:00+00)}'),
    ('hstore', ''), ('hstore', 'a=>1,"b c"=>NULL'), ('hstore[]', '{"a=>1"}'), ('citext', 'CiText'), ('citext[]', '{A}');
DO $$
BEGIN
    EXECUTE (SELECT 'CREATE TABLE typed (id int PRIMARY KEY, ' || string_agg(format('c%s %s', nr, type), ', ' ORDER BY nr) || ')' FROM sample);
END
$$;
SELECT audit.attach('typed', baseline => true);

-- case 8: the session prints everything in another way
SET TimeZone = 'America/New_York';
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -10;
SET xmlbinary = 'hex';
SET quote_all_identifiers = on;
DO $$
BEGIN
    SET LOCAL DateStyle = 'ISO, YMD';
    EXECUTE (SELECT 'INSERT INTO typed VALUES (1, ' || string_agg(format('%L::%s', value, type), ', ' ORDER BY nr) || ')' FROM sample);
END
$$;
INSERT INTO typed (id) VALUES (2);
SET search_path = '';
UPDATE regress_types.typed SET id = 3 WHERE id = 1;
DELETE FROM regress_types.typed WHERE id = 2;
RESET ALL;
SET client_min_messages = warning;
SET search_path = regress_types;
SELECT * FROM replay_mismatches('typed');
-- The same row, the same image.
SELECT operation, row_key, old_row_key, changed_columns,
       lag(new_values) OVER (ORDER BY event_id) - 'id' = old_values - 'id' AS same_image
FROM audit.audit_events WHERE table_oid = 'typed'::regclass AND operation <> 'system' AND coalesce(row_key, '') <> '2' ORDER BY event_id;
SELECT s.type, s.value, e.new_values -> ('c' || s.nr) AS image
FROM sample s CROSS JOIN audit.audit_events e
WHERE e.table_oid = 'typed'::regclass AND e.operation = 'update' ORDER BY s.nr;

-- case 10: what is stored counts, not what a type calls equal, nor what JSON prints
CREATE TABLE nuance (id int PRIMARY KEY, n numeric, j json, b jsonb, f float8, c citext, k char(3), t timestamptz, i interval);
SELECT audit.attach('nuance', baseline => true);
INSERT INTO nuance VALUES (1, 1.5, '{"a":1}', NULL, 0, 'x', 'a', '2024-07-01 12:00+00', '1 day');
UPDATE nuance SET n = 1.50;
UPDATE nuance SET j = '{"a": 1}';
UPDATE nuance SET j = NULL;
UPDATE nuance SET j = 'null', b = 'null';
UPDATE nuance SET f = '-0';
UPDATE nuance SET c = 'X';
UPDATE nuance SET i = '24:00';
-- no change: the same stored value, written in another way
UPDATE nuance SET k = 'a  ', t = '2024-07-01 14:00+02', b = ' null ', n = 1.50;
SELECT operation, changed_columns, old_values, new_values FROM audit.audit_events
WHERE table_oid = 'nuance'::regclass AND operation = 'update' ORDER BY event_id;
SELECT * FROM replay_mismatches('nuance');

DROP SCHEMA regress_types CASCADE;
