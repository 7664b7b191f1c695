-- Wide rows, long and odd names, and values that JSONB cannot hold.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_wide;
SET search_path = regress_wide;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

-- case 11: what JSONB cannot hold is recorded as a marked substitute, and the write succeeds
CREATE TABLE j (id int PRIMARY KEY, j json, a json[]);
SELECT audit.attach('j', baseline => true);
INSERT INTO j VALUES
    (1, '{"a": "\u0000"}', NULL), (2, '{"a": 1e999999}', NULL), (3, '[1e131073]', NULL), (4, '"\ud800"', NULL),
    (5, '{"a": "\\u0000 and \ud83d\ude00"}', NULL), (6, '{"a": 1, "a": 2, "": 3}', NULL), (7, NULL, ARRAY['{"a": "\u0000"}'::json]);
INSERT INTO j SELECT 8, (repeat('[', 5000) || repeat(']', 5000))::json;
SELECT key, new - 'id' AS new FROM look() WHERE op = 'insert' AND key <> '8';
-- its length and SHA-256 are those of the value
SELECT id, new #>> '{j,pg_attest}' AS kind, new #>> '{j,type}' AS type,
       (new #>> '{j,length}')::int = octet_length(j::text) AS length, new #>> '{j,sha256}' = encode(sha256(convert_to(j::text, 'UTF8')), 'hex') AS sha256
FROM trail JOIN j ON id::text = key WHERE tab = 'j' AND op = 'insert' AND new -> 'j' ? 'pg_attest' ORDER BY id;
-- a change of such a value is a change
UPDATE j SET j = '{"a": "\u0000b"}' WHERE id = 1;
UPDATE j SET j = '{"a": "\u0000b"}' WHERE id = 1;
DELETE FROM j WHERE id = 1;
SELECT op, key, changed, old -> 'j' = new -> 'j' AS same FROM look();

-- case 11: a bytea whose hexadecimal text is one byte past JSONB's limit for a string: a substitute, and the other columns stay
CREATE TABLE big (id int PRIMARY KEY, t text, b bytea, u text);
ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
SELECT audit.attach('big');
INSERT INTO big SELECT 1, 'small', convert_to(repeat('x', 128 * 1024 * 1024), 'UTF8'), 'kept';
SELECT op, key, new FROM look() WHERE op = 'insert';
SELECT encode(sha256(b), 'hex') AS sha256, octet_length(b) AS length FROM big;
DROP TABLE big;
SELECT op, action FROM look();

-- case 15: 1,600 columns, the most that PostgreSQL has
\set ECHO none
SELECT 'CREATE TABLE wide (' || string_agg('c' || i || ' int', ', ') || ')' FROM generate_series(1, 1600) i
\gexec
\set ECHO all
SELECT audit.attach('wide', key_columns => '{c1,c1600}', baseline => true);
INSERT INTO wide (c1, c800, c1600) VALUES (1, NULL, 1600), (2, 7, 1601);
UPDATE wide SET c800 = 5 WHERE c1 = 1;
DELETE FROM wide WHERE c1 = 2;
SELECT op, key, changed, (SELECT count(*) FROM jsonb_object_keys(coalesce(new, old))) AS columns FROM look() WHERE op <> 'system';
SELECT * FROM replay_mismatches('wide');

-- case 15: names of 63 bytes that are not ASCII, 1,500 of them
\set ECHO none
SELECT 'CREATE TABLE names (' || string_agg(format('%I text', repeat('ä', 28) || i), ', ') || ')' FROM generate_series(1, 1500) i
\gexec
\set ECHO all
SELECT audit.attach('names', baseline => true);
INSERT INTO names DEFAULT VALUES;
UPDATE names SET "ääääääääääääääääääääääääääää77" = 'x';
SELECT op, key, changed, (SELECT count(*) FROM jsonb_object_keys(new)) AS columns FROM look() WHERE op <> 'system';
SELECT count(*) FROM replay_mismatches('names');
DO $$
BEGIN
    EXECUTE format('CREATE TABLE %I (%I int PRIMARY KEY, %I text)', repeat('€', 21), repeat('é', 31) || 'x', repeat('w', 63));
    PERFORM audit.attach(repeat('€', 21)::regclass);
    EXECUTE format('INSERT INTO %I VALUES (1, 2)', repeat('€', 21));
    EXECUTE format('UPDATE %I SET %I = 3', repeat('€', 21), repeat('w', 63));
END
$$;
SELECT op, tab, key, new, changed FROM look();

-- case 15: names with quotes, backslashes, spaces, commas, reserved words
CREATE SCHEMA "regress ä ""q'.x";
CREATE TABLE "regress ä ""q'.x"."ta'b""le\ ,ü€" ("co l'""\" int, "ü€😀" text, "SELECT" int, PRIMARY KEY ("co l'""\", "ü€😀"));
SELECT audit.attach('"regress ä ""q''.x"."ta''b""le\ ,ü€"', mask => '{SELECT}', key_columns => ARRAY['co l''"\', 'ü€😀']::name[], baseline => true);
INSERT INTO "regress ä ""q'.x"."ta'b""le\ ,ü€" VALUES (1, 'ü"''\', 5);
UPDATE "regress ä ""q'.x"."ta'b""le\ ,ü€" SET "ü€😀" = '(,)';
SELECT * FROM replay_mismatches('"regress ä ""q''.x"."ta''b""le\ ,ü€"');
ALTER TABLE "regress ä ""q'.x"."ta'b""le\ ,ü€" RENAME "SELECT" TO "$$ \";
INSERT INTO "regress ä ""q'.x"."ta'b""le\ ,ü€" VALUES (2, '', 5);
SELECT op, schema_name, tab, key, old_key, new, changed, command FROM look();
SELECT target, mask, key_columns, healthy FROM audit.attachments WHERE schema_name LIKE 'regress ä%';
SELECT audit.detach('"regress ä ""q''.x"."ta''b""le\ ,ü€"', 'end of the test');
DROP SCHEMA "regress ä ""q'.x" CASCADE;

-- a table without columns
CREATE TABLE none ();
SELECT audit.attach('none', baseline => true);
INSERT INTO none DEFAULT VALUES;
INSERT INTO none DEFAULT VALUES;
DELETE FROM none WHERE ctid = '(0,1)';
SELECT op, tab, key, old, new FROM look() WHERE tab = 'none';
SELECT * FROM replay_mismatches('none');

-- case 14: toasted values that an UPDATE did not touch appear in full
CREATE TABLE toasted (id int PRIMARY KEY, big text, n int);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
SELECT audit.attach('toasted', baseline => true);
INSERT INTO toasted SELECT 1, string_agg(md5(i::text), ''), 0 FROM generate_series(1, 500) i;
UPDATE toasted SET n = 1;
UPDATE toasted SET big = big;
UPDATE toasted SET big = big || '';
UPDATE toasted SET big = big || '!';
DELETE FROM toasted;
SELECT op, length(old ->> 'big') AS old, length(new ->> 'big') AS new, changed FROM look() WHERE op <> 'system';
SELECT count(*) FROM replay_mismatches('toasted');

DROP SCHEMA regress_wide CASCADE;
