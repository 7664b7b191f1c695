-- Row keys: of one column and of several, without a key, changed, long, and whatever the session's settings.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_keys;
SET search_path = regress_keys;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

-- case 15: several columns print as a row literal does
CREATE TABLE pk (a timestamptz, b text, c numeric, d bytea, PRIMARY KEY (a, b, c));
SELECT audit.attach('pk');
-- case 9: not by the session's settings
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET bytea_output = 'escape';
INSERT INTO pk VALUES ('2024-01-01 00:00+00', 'a,b(c)"d\e''f', 1.50, 'x'), ('infinity', '', 0, NULL), ('2024-01-01 00:00+00', ' ', 1, NULL);
RESET TimeZone;
RESET DateStyle;
RESET bytea_output;
UPDATE pk SET d = 'y' WHERE b = ' ';
UPDATE pk SET c = 1.0 WHERE b = ' ';
SELECT op, key, old_key, changed FROM look() WHERE op <> 'system';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SELECT count(*) AS same FROM pk WHERE ROW(a, b, c)::text IN (SELECT key FROM trail WHERE tab = 'pk' AND op IN ('insert', 'update'));
RESET TimeZone;
RESET DateStyle;

-- in the order of the key, not of the table
CREATE TABLE reversed (a int, b int, c int, PRIMARY KEY (c, a));
SELECT audit.attach('reversed');
INSERT INTO reversed VALUES (1, 2, 3);
-- one column of any type: its text
CREATE TABLE by_uuid (id uuid PRIMARY KEY);
CREATE TABLE by_bytea (id bytea PRIMARY KEY);
CREATE TABLE by_date (id date PRIMARY KEY);
CREATE TABLE by_bool (id bool PRIMARY KEY);
CREATE TABLE by_array (id int[] PRIMARY KEY);
CREATE TYPE pair AS (x int, y text);
CREATE TABLE by_pair (id pair PRIMARY KEY);
CREATE TABLE by_text (id text PRIMARY KEY);
SELECT audit.attach(t) FROM unnest('{by_uuid,by_bytea,by_date,by_bool,by_array,by_pair,by_text}'::regclass[]) AS t;
SET DateStyle = 'German';
SET bytea_output = 'escape';
INSERT INTO by_uuid VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
INSERT INTO by_bytea VALUES ('\x00ff');
INSERT INTO by_date VALUES ('31.12.2024');
INSERT INTO by_bool VALUES (true);
INSERT INTO by_array VALUES ('{1,NULL,3}');
INSERT INTO by_pair VALUES ('(1,"a,b")');
INSERT INTO by_text VALUES (''), ('(1,2)'), ('"'), ('NULL');
RESET DateStyle;
RESET bytea_output;
SELECT tab, key FROM look() WHERE op = 'insert';

-- key_columns may be NULL, and need no index; one column that is NULL is no key
CREATE TABLE nullable (a int, b text);
SELECT audit.attach('nullable', key_columns => '{b,a}');
INSERT INTO nullable VALUES (1, NULL), (NULL, 'x'), (NULL, NULL), (1, 'y'), (1, '');
UPDATE nullable SET a = 2 WHERE b = 'x';
DELETE FROM nullable WHERE b IS NULL;
SELECT op, key, old_key FROM look() WHERE op <> 'system';
SELECT audit.attach('nullable', key_columns => '{b}');
UPDATE nullable SET b = NULL WHERE b = 'x';
UPDATE nullable SET b = 'z' WHERE b IS NULL;
UPDATE nullable SET a = 3 WHERE b = 'z';
SELECT op, key, old_key, changed FROM look() WHERE op <> 'system';

-- what the key is made of: key_columns, else the primary key, else the replica identity index, else nothing
CREATE TABLE identity_index (a int NOT NULL, b text);
CREATE UNIQUE INDEX identity_index_a ON identity_index (a);
ALTER TABLE identity_index REPLICA IDENTITY USING INDEX identity_index_a;
CREATE TABLE identity_full (a int, b text);
ALTER TABLE identity_full REPLICA IDENTITY FULL;
CREATE TABLE only_unique (a int NOT NULL UNIQUE);
CREATE TABLE explicit (a int PRIMARY KEY, b int);
SELECT audit.attach(t) FROM unnest('{identity_index,identity_full,only_unique}'::regclass[]) AS t;
SELECT audit.attach('explicit', key_columns => '{b}');
INSERT INTO identity_index VALUES (5, 'x');
INSERT INTO identity_full VALUES (5, 'x');
INSERT INTO only_unique VALUES (5);
INSERT INTO explicit VALUES (5, 6);
SELECT tab, key FROM look() WHERE op = 'insert';

-- case 26: the key follows the table's primary key and the columns' names
ALTER TABLE only_unique ADD PRIMARY KEY (a);
INSERT INTO only_unique VALUES (6);
ALTER TABLE only_unique RENAME a TO id;
INSERT INTO only_unique VALUES (7);
ALTER TABLE only_unique DROP CONSTRAINT only_unique_pkey;
INSERT INTO only_unique VALUES (8);
ALTER TABLE explicit RENAME b TO z;
INSERT INTO explicit VALUES (6, 7);
SELECT tab, key, new FROM look() WHERE op = 'insert';

-- what is masked or left out never shows in a key
CREATE TABLE hidden (id int, secret text);
SELECT audit.attach('hidden');
INSERT INTO hidden VALUES (1, 's');
ALTER TABLE hidden ADD PRIMARY KEY (secret);
INSERT INTO hidden VALUES (2, 't');
UPDATE hidden SET secret = 'u' WHERE id = 2;
ALTER TABLE hidden DROP CONSTRAINT hidden_pkey, ADD PRIMARY KEY (id, secret);
DELETE FROM hidden WHERE id = 1;
SELECT op, key, old_key, old, new FROM look() WHERE op NOT IN ('system', 'ddl');

-- longer than 1,000 bytes: cut, with its SHA-256; still one key a value
CREATE TABLE long (a text PRIMARY KEY);
SELECT audit.attach('long');
INSERT INTO long SELECT repeat('k', n) FROM unnest('{999,1000,1001,2000}'::int[]) AS n;
INSERT INTO long SELECT repeat('é', n) FROM unnest('{500,501}'::int[]) AS n;
SELECT octet_length(new ->> 'a') AS bytes, octet_length(key) <= 1100 AS bounded, key = new ->> 'a' AS whole,
       position(encode(sha256(convert_to(new ->> 'a', 'UTF8')), 'hex') IN key) > 0 AS sha256
FROM look() WHERE op = 'insert';
UPDATE long SET a = a || 'x' WHERE octet_length(a) = 2000;
DELETE FROM long WHERE octet_length(a) = 2001;
SELECT u.key = d.key AS same_key, u.old_key = i.key AS same_old_key
FROM trail u, trail d, trail i
WHERE u.tab = 'long' AND u.op = 'update' AND d.tab = 'long' AND d.op = 'delete' AND i.tab = 'long' AND i.op = 'insert' AND i.new = u.old;

-- a column that is generated
CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
SELECT audit.attach('generated', key_columns => '{b}');
INSERT INTO generated VALUES (1);
UPDATE generated SET a = 5;
SELECT op, key, old_key, changed FROM look() WHERE tab = 'generated' AND op <> 'system';

DROP SCHEMA regress_keys CASCADE;
