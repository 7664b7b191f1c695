-- Tables as they were.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_as_of;
SET search_path = regress_as_of;
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE TYPE pair AS (x int, y text);
CREATE TABLE kinds (id int PRIMARY KEY DEFERRABLE, n numeric, f float8, t text, b bytea, j json, jb jsonb, a int[], p pair, ps pair[],
    tz timestamptz, i interval, r int4range, bo bool, d date, u uuid, g int GENERATED ALWAYS AS (id * 2) STORED, m money, secret text, hidden text);
SELECT audit.attach('kinds', exclude => '{hidden}');
SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard';
INSERT INTO kinds VALUES
    (1, 1.50, 'NaN', E'a\n"b"', '\x00ff', '{"a": 1,  "a": 2}', '{"k": [null]}', '{1,NULL}', '(1,"x,y")', '{"(1,a)"}', 'infinity', '-1 day +02:03:04', '[1,5)', true, '0044-03-15 BC', gen_random_uuid(), DEFAULT, 12.34, 's', 'h'),
    (2, 'Infinity', 1e-300, '', '', 'null', '1', '{}', NULL, '{}', '2024-02-29 23:59:59.999999+14', '1 mon', 'empty', NULL, 'infinity', NULL, DEFAULT, -1, NULL, NULL);
SELECT clock_timestamp() AS t1 \gset
CREATE TABLE copy1 AS SELECT * FROM kinds;
DELETE FROM kinds;
-- Equal, but for what was masked and excluded
SELECT (SELECT count(*) FROM audit.as_of(NULL::kinds, :'t1')) AS rows,
       (SELECT count(*) FROM (SELECT to_jsonb(k) - '{secret,hidden}'::text[] FROM audit.as_of(NULL::kinds, :'t1') k EXCEPT ALL SELECT to_jsonb(k) - '{secret,hidden}'::text[] FROM copy1 k) d) AS differ,
       (SELECT count(secret) + count(hidden) FROM audit.as_of(NULL::kinds, :'t1')) AS shown;
SELECT count(*) FROM audit.as_of(NULL::kinds, clock_timestamp());
RESET TimeZone; RESET DateStyle; RESET IntervalStyle;
-- What JSON cannot hold is not known
INSERT INTO kinds (id, j) VALUES (3, '"\u0000"');
SELECT id, j FROM audit.as_of(NULL::kinds, clock_timestamp());

-- Columns added, dropped, renamed, retyped; the same name twice
CREATE TABLE shapes (id int PRIMARY KEY, a int, b text, c text);
SELECT audit.attach('shapes');
INSERT INTO shapes VALUES (1, 10, 'b1', 'c1'), (2, 20, 'b2', 'c2');
SELECT clock_timestamp() AS t1 \gset
ALTER TABLE shapes RENAME a TO amount;
ALTER TABLE shapes DROP COLUMN b;
ALTER TABLE shapes ADD COLUMN added int DEFAULT 7;
INSERT INTO shapes VALUES (3, 30, 'c3');
SELECT clock_timestamp() AS t2 \gset
ALTER TABLE shapes ALTER amount TYPE text USING 'n' || amount;
ALTER TABLE shapes ADD COLUMN b int;
UPDATE shapes SET b = 1, added = 8 WHERE id = 1;
ALTER TABLE shapes RENAME TO forms;
SELECT clock_timestamp() AS t3 \gset
SELECT * FROM audit.as_of(NULL::forms, :'t1') ORDER BY id;
SELECT * FROM audit.as_of(NULL::forms, :'t2') ORDER BY id;
SELECT id, c, added, b FROM audit.as_of(NULL::forms, :'t3') EXCEPT SELECT id, c, added, b FROM forms;
SELECT row_key, image FROM audit.rows_at('forms', :'t1') ORDER BY 1;
-- A value that does not fit the present type
ALTER TABLE forms ALTER c TYPE int USING 0;
\set VERBOSITY default
SELECT id FROM audit.as_of(NULL::forms, :'t1');
\set VERBOSITY terse

-- Keys change places, rows come back, TRUNCATE empties
CREATE TABLE moves (id int PRIMARY KEY DEFERRABLE, v text);
INSERT INTO moves VALUES (0, 'was there');
SELECT audit.attach('moves', baseline => true);
SELECT clock_timestamp() AS t1 \gset
INSERT INTO moves VALUES (1, 'one'), (2, 'two'), (3, 'three');
UPDATE moves SET id = 3 - id WHERE id IN (1, 2);
DELETE FROM moves WHERE id = 3; INSERT INTO moves VALUES (3, 'again');
SELECT clock_timestamp() AS t2 \gset
BEGIN; INSERT INTO moves VALUES (4, 'four'); TRUNCATE moves; INSERT INTO moves VALUES (5, 'five'); COMMIT;
SELECT clock_timestamp() AS t3 \gset
SELECT * FROM audit.as_of(NULL::moves, :'t1') ORDER BY id;
SELECT * FROM audit.as_of(NULL::moves, :'t2') ORDER BY id;
SELECT * FROM audit.as_of(NULL::moves, :'t3') ORDER BY id;
-- A transaction counts as a whole, from its last change on
BEGIN; DELETE FROM moves; SELECT clock_timestamp() AS middle \gset
INSERT INTO moves VALUES (6, 'six'); COMMIT;
SELECT * FROM audit.as_of(NULL::moves, :'middle');
SELECT * FROM audit.as_of(NULL::moves, clock_timestamp());
-- Rolled back: never was
BEGIN; DELETE FROM moves; ROLLBACK;
SELECT * FROM audit.as_of(NULL::moves, clock_timestamp());

-- capture => 'diff': folded, across changes of the key and back again; and from diff to full
CREATE TABLE diffs (id int PRIMARY KEY DEFERRABLE, a text, b text, c text);
SELECT audit.attach('diffs', capture => 'diff');
INSERT INTO diffs SELECT g, 'a' || g, 'b' || g, 'c' || g FROM generate_series(1, 5) g;
UPDATE diffs SET a = 'A' WHERE id = 1;
UPDATE diffs SET id = 3 - id WHERE id IN (1, 2);
UPDATE diffs SET b = 'B' WHERE id = 1;
UPDATE diffs SET id = 9 WHERE id = 1;
UPDATE diffs SET id = 1, c = 'C' WHERE id = 9;
ALTER TABLE diffs ADD COLUMN d int DEFAULT 1;
UPDATE diffs SET a = 'x' WHERE id = 3;
DELETE FROM diffs WHERE id = 4; INSERT INTO diffs VALUES (4, 'n', 'n', 'n', 5);
SELECT audit.attach('diffs', capture => 'full');
UPDATE diffs SET b = 'full' WHERE id = 5;
SELECT count(*) AS rows, count(*) FILTER (WHERE d IS NULL) AS unknown FROM audit.as_of(NULL::diffs, clock_timestamp());
SELECT * FROM audit.as_of(NULL::diffs, clock_timestamp()) EXCEPT ALL SELECT * FROM diffs;

-- Without a key: what came, less what went; 1.5 and 1.50 are two values
CREATE TABLE bare (n numeric, v text);
SELECT audit.attach('bare');
INSERT INTO bare VALUES (1.5, 'x'), (1.50, 'x'), (1.5, 'x'), (2, 'y');
DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare);
UPDATE bare SET v = 'Y' WHERE v = 'y';
SELECT * FROM audit.as_of(NULL::bare, clock_timestamp()) ORDER BY n, n::text;
SELECT audit.attach('bare', capture => 'diff');
UPDATE bare SET v = 'z' WHERE v = 'Y';
SELECT * FROM audit.as_of(NULL::bare, clock_timestamp());

-- Partitions and inheritance
CREATE TABLE parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
SELECT audit.attach('parts');
INSERT INTO parts VALUES (1, '2024-05-05'), (2, '2025-05-05');
UPDATE parts SET at = '2025-05-05' WHERE id = 1;
ALTER TABLE parts ADD COLUMN v int DEFAULT 3;
SELECT * FROM audit.as_of(NULL::parts, clock_timestamp()) ORDER BY id;

-- What is not known is said
CREATE TABLE late (id int PRIMARY KEY, v text);
INSERT INTO late VALUES (1, 'before');
SELECT clock_timestamp() AS t0 \gset
SELECT audit.attach('late');
INSERT INTO late VALUES (2, 'after');
SELECT clock_timestamp() AS t1 \gset
\set VERBOSITY sqlstate
SELECT * FROM audit.as_of(NULL::late, :'t1');
SELECT row_key, image FROM audit.rows_at('late', :'t1');
-- A baseline can be taken later
SELECT audit.attach('late', baseline => true);
UPDATE late SET v = 'later' WHERE id = 1;
SELECT * FROM audit.as_of(NULL::late, clock_timestamp()) ORDER BY id;
SELECT audit.detach('late', 'a pause');
SELECT * FROM audit.as_of(NULL::late, clock_timestamp());
SELECT * FROM audit.as_of(NULL::late, now() - interval '1 day');

-- Nor is a table told whose deletions are not recorded
CREATE TABLE some_operations (id int PRIMARY KEY);
SELECT audit.attach('some_operations', operations => '{insert,update}');
SELECT * FROM audit.as_of(NULL::some_operations, clock_timestamp());
SELECT audit.attach('some_operations');
SELECT * FROM audit.as_of(NULL::some_operations, clock_timestamp());
SELECT audit.attach('some_operations', baseline => true);
SELECT * FROM audit.as_of(NULL::some_operations, clock_timestamp());

-- What an added column's default is read by is capture's own code: neither JSON that JSONB cannot hold nor a type's own cast to json gets in the way
CREATE TYPE trap AS (n int);
CREATE FUNCTION spring(trap) RETURNS json LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''sprung as %'', current_user; END';
CREATE CAST (trap AS json) WITH FUNCTION spring(trap);
CREATE TABLE added (id int PRIMARY KEY);
INSERT INTO added VALUES (1);
ALTER TABLE added ADD COLUMN bad json DEFAULT '"\u0000"', ADD COLUMN huge json DEFAULT '1e200000', ADD COLUMN caught trap DEFAULT ROW(7), ADD COLUMN good text DEFAULT 'g';
SELECT audit.attach('added', baseline => true);
SELECT context -> 'missing' AS missing FROM audit.audit_events WHERE table_oid = 'added'::regclass AND action = 'attach';

DROP SCHEMA regress_as_of CASCADE;
