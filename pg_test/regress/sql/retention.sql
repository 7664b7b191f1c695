-- Retention: policies, holds, pruning, clearing. In a database of its own: events of past years are restored into it.
SET client_min_messages = warning;
CREATE DATABASE regress_retention TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_retention
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE orders (id int PRIMARY KEY, v text);
CREATE TABLE notes (id int PRIMARY KEY, v text);
SELECT audit.attach('orders'), audit.attach('notes');

-- Three events a month of each table, two of a category, for the years 2015 to 2017; one of another category each January.
-- under ids that the sequence has passed
SELECT setval('audit.audit_events_event_id_seq', 20000);
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
    schema_name, table_name, row_key, new_values, session_user_name, effective_role, request_id, category, action)
SELECT 10000 + row_number() OVER (ORDER BY m, kind, n), m + n * interval '1 day', m, '3', 0, 1,
       CASE kind WHEN 'orders' THEN 'orders'::regclass WHEN 'notes' THEN 'notes'::regclass END,
       CASE WHEN kind IN ('orders', 'notes') THEN 'insert' ELSE 'event' END::audit.operation, gen_random_uuid(),
       CASE WHEN kind IN ('orders', 'notes') THEN 'public' END, CASE WHEN kind IN ('orders', 'notes') THEN kind END,
       CASE WHEN kind IN ('orders', 'notes') THEN n::text END, jsonb_build_object('id', n, 'v', kind), 'old', 'old',
       kind || '-' || to_char(m, 'YYYY-MM'), CASE WHEN kind NOT IN ('orders', 'notes') THEN kind END,
       CASE WHEN kind NOT IN ('orders', 'notes') THEN 'did' END
FROM generate_series('2015-01-01'::timestamptz, '2017-12-01', '1 month') m,
     (VALUES ('orders', 3), ('notes', 3), ('login', 2), ('report', 1)) kinds (kind, most), generate_series(1, most) n
WHERE kind <> 'report' OR extract(month FROM m) = 1;
RESET audit.restore;
SELECT sum(done) > 0 AS drained FROM audit.maintain();
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
SELECT audit.seal() > 0 AS sealed;
CREATE VIEW years AS
SELECT extract(year FROM occurred_at) AS year, coalesce(table_name, category) AS what, count(*) AS events
FROM audit.audit_events WHERE operation IN ('insert', 'event') GROUP BY 1, 2 ORDER BY 1, 2;
CREATE VIEW findings AS SELECT check_name, count(*) FROM audit.verify() WHERE NOT ok AND event_id IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT * FROM years;
SELECT * FROM findings;

-- without a policy nothing is ever due
SELECT * FROM audit.apply_retention();
SELECT * FROM audit.apply_retention(false);

-- policies: the most specific one wins
SELECT audit.set_retention('2 years', target => 'notes');
SELECT audit.set_retention(NULL, target => 'orders');
SELECT audit.set_retention('90 days', category => 'login');
SELECT policy, target, category, keep, max_events, locked, require_archive, set_by = session_user AS mine FROM audit.retention_policies ORDER BY 1;
SELECT count(*) AS partitions, policy, subject, sum(due) AS due, sum(pruned) AS pruned, method
FROM audit.apply_retention() GROUP BY policy, subject, method ORDER BY 2, 3;
SELECT count(*) AS still FROM audit.audit_events WHERE category = 'login';

-- holds beat policies: each condition, and all of them
SELECT audit.hold('case 1', target => 'notes', period => '[2015-03-01,2015-05-01)', reason => 'court') > 0 AS held;
SELECT audit.hold('case 2', request_id => 'login-2016-02', reason => 'audit') > 0 AS held;
SELECT audit.hold('case 3', target => 'notes', row_key => '2', reason => 'patient') > 0 AS held;
SELECT name, active, target, row_key, row_keys, request_id, period, reason FROM audit.holds ORDER BY name;
SELECT policy, sum(due) AS due, sum(held) AS held FROM audit.apply_retention() GROUP BY 1 ORDER BY 1;
SELECT policy, sum(due) AS due, sum(held) AS held, sum(pruned) AS pruned FROM audit.apply_retention(false) GROUP BY 1 ORDER BY 1;
SELECT * FROM years;
SELECT audit.seal() > 0 AS sealed;

-- the log says what went: every leaf of an event that is gone is declared, none of one that is there
CREATE VIEW declared AS
WITH leaves AS MATERIALIZED (SELECT * FROM audit.leaves(0, 1000000)),
runs AS (SELECT d.event_id AS declaration, d.action, (run ->> 1)::bigint AS first, (run ->> 2)::bigint AS last
         FROM audit.audit_events d, jsonb_array_elements(d.context -> 'leaves') run
         WHERE d.operation = 'system' AND d.action IN ('prune', 'clear', 'erase'))
SELECT r.declaration, r.action, l.* FROM leaves l JOIN runs r ON l.leaf_index BETWEEN r.first AND r.last;
SELECT e.event_id IS NULL AS gone, d.declaration IS NOT NULL AS declared, count(*) > 0 AS some
FROM audit.leaves(0, 1000000) l LEFT JOIN audit.audit_events e USING (event_id) LEFT JOIN declared d USING (leaf_index) GROUP BY 1, 2 ORDER BY 1;
-- with the root over their leaves, computed here once more
CREATE FUNCTION root_of(hashes bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(hashes);
    k int := 1;
BEGIN
    IF n = 1 THEN RETURN hashes[1]; END IF;
    WHILE k * 2 < n LOOP k := k * 2; END LOOP;
    RETURN sha256('\x01' || root_of(hashes[1:k]) || root_of(hashes[k + 1:n]));
END
$$;
SELECT bool_and(decode(context ->> 'root', 'base64') = root_of(hashes)) AS roots, bool_and((context ->> 'count')::int = cardinality(hashes)) AS counts
FROM audit.audit_events e JOIN (SELECT declaration, array_agg(leaf_hash ORDER BY leaf_index) AS hashes FROM declared GROUP BY 1) d ON d.declaration = e.event_id;
SELECT context -> 'partition' AS partition, context -> 'count' AS count, context -> 'policies' -> 0 ->> 'policy' AS policy, context -> 'events' -> 0 ->> 'subject' AS subject
FROM audit.audit_events WHERE action = 'prune' ORDER BY event_id LIMIT 2;

-- again: nothing is due but what is held
SELECT sum(pruned) AS pruned, sum(held) = sum(due) AS held FROM audit.apply_retention(false);

-- released, they go; a default policy takes the rest, and the partitions with it
SELECT audit.release_hold('case 1', 'settled'), audit.release_hold('case 3', 'done');
SELECT name, active, release_reason FROM audit.holds ORDER BY name;
SELECT audit.set_retention('1 year');
SELECT policy, method, sum(due) AS due, sum(held) AS held, sum(pruned) AS pruned FROM audit.apply_retention(false) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM years;
SELECT audit.set_retention('1 year', target => 'orders');
SELECT policy, method, sum(due) AS due, sum(held) AS held, sum(pruned) AS pruned FROM audit.apply_retention() GROUP BY 1, 2 ORDER BY 1, 2;
SELECT audit.release_hold('case 2', 'over');
CALL audit.prune();
SELECT * FROM years;
SELECT count(*) AS "old months left" FROM audit.log_partitions WHERE ends < '2018-01-01' AND NOT is_default;
SELECT count(*) FILTER (WHERE e.event_id IS NULL AND d.declaration IS NULL) AS undeclared, count(*) FILTER (WHERE e.event_id IS NOT NULL AND d.declaration IS NOT NULL) AS "declared but there"
FROM audit.leaves(0, 1000000) l LEFT JOIN audit.audit_events e USING (event_id) LEFT JOIN declared d USING (leaf_index);
SELECT check_name, ok FROM audit.verify_chain();

-- the newest so many: of a table, across months
INSERT INTO notes SELECT g, 'x' FROM generate_series(1, 20) g;
UPDATE notes SET v = 'y' WHERE id <= 5;
SELECT audit.set_retention(NULL, target => 'notes', max_events => 7);
SELECT policy, due, pruned FROM audit.apply_retention(false);
SELECT operation, count(*) FROM audit.audit_events WHERE table_name = 'notes' AND operation IN ('insert', 'update') GROUP BY 1;
SELECT audit.set_retention('10 years', target => 'notes', max_events => 0);
SELECT policy, due, pruned FROM audit.apply_retention(false);

-- a policy follows its table to another name; a new table of the old name has none
ALTER TABLE notes RENAME TO remarks;
INSERT INTO remarks VALUES (100, 'z');
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('notes');
INSERT INTO notes VALUES (1);
SELECT policy, target, table_names FROM audit.retention_policies WHERE policy LIKE 'table %' ORDER BY 1;
SELECT policy, subject, due FROM audit.apply_retention();
SELECT audit.set_retention('5 years', target => 'notes');
SELECT audit.set_retention('5 years', target => 'remarks');

-- locked: longer, never shorter, never dropped
SELECT audit.set_retention('7 years', target => 'orders', locked => true);
SELECT audit.set_retention('6 years', target => 'orders');
SELECT audit.set_retention('2550 days', target => 'orders');
SELECT audit.set_retention('7 years', target => 'orders', max_events => 100);
SELECT audit.set_retention('7 years', target => 'orders', locked => false);
SELECT audit.drop_retention('orders');
SELECT audit.set_retention('84 months', target => 'orders');
SELECT audit.set_retention('2557 days', target => 'orders');
SELECT audit.set_retention('8 years', target => 'orders', require_archive => true);
SELECT audit.set_retention('8 years', target => 'orders', require_archive => false);
SELECT policy, keep, locked, require_archive FROM audit.retention_policies WHERE target = 'orders'::regclass;
SELECT audit.set_retention(NULL, target => 'orders');
SELECT audit.set_retention('100 years', target => 'orders');
SELECT audit.drop_retention('remarks');
SELECT audit.drop_retention(category => 'login');
SELECT audit.drop_retention(category => 'login');
SELECT policy, keep, locked FROM audit.retention_policies ORDER BY 1;

-- whatever a superuser does in SQL: an event of his own that shortens or drops a locked policy has no effect, an edited one is found
SELECT audit.seal() > 0 AS sealed;
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, salt, session_user_name, effective_role, table_oid, schema_name, table_name, action, context)
SELECT 1000000 + row_number() OVER (), now(), now(), pg_current_xact_id(), 0, 1, 'system', gen_random_uuid(), 'x', 'x', e.table_oid, e.schema_name, e.table_name, a, c
FROM audit.audit_events e,
     (VALUES ('set retention', '{"policy": "table public.orders", "keep": "P1D", "locked": false}'::jsonb), ('drop retention', '{"policy": "table public.orders"}')) forged (a, c)
WHERE e.action = 'set retention' AND e.table_name = 'orders' AND e.context ->> 'keep' = 'P7Y' LIMIT 2;
SELECT policy, keep, locked, cutoff <= now() - interval '100 years' AS "a hundred years" FROM audit.retention_policies WHERE target = 'orders'::regclass;
BEGIN;
UPDATE audit.audit_events SET context = context || '{"locked": false}' WHERE action = 'set retention' AND context ->> 'locked' = 'true' AND table_name = 'orders' AND event_id < 1000000;
SELECT locked FROM audit.retention_policies WHERE target = 'orders'::regclass;
SELECT check_name, count(*) > 0 AS found FROM audit.verify() WHERE NOT ok AND check_name = 'altered event' GROUP BY 1;
ROLLBACK;
DELETE FROM audit.audit_events WHERE event_id > 1000000;
RESET audit.restore;
\c
SET client_min_messages = warning;
SET TimeZone = 'UTC';

-- clearing a category
SELECT audit.set_retention('1 year', category => 'kept', locked => true);
SELECT audit.clear('kept', 'tidy');
SELECT audit.clear('nothing', 'tidy');
SELECT audit.set_retention('2 years', locked => true);
SELECT audit.clear('nothing', 'tidy');

-- a policy that asks for an archive
SELECT audit.set_retention('1 day', target => 'remarks', max_events => 0, require_archive => true);
SELECT policy, due, not_archived, pruned FROM audit.apply_retention(false);

-- the session's context says nothing of policies and holds
BEGIN;
SET LOCAL audit.context = '{"category": "login", "request_id": "r", "period": "(,2000-01-01)", "row_keys": ["1"], "keep": "P1D", "locked": true, "max_events": 1}';
SELECT audit.set_retention('30 years', target => 'remarks');
SELECT audit.set_retention('30 years', category => 'other');
SELECT audit.hold('whole table', target => 'orders', reason => 'court') > 0 AS held;
SELECT policy, target, category, keep, max_events, locked FROM audit.retention_policies WHERE keep = '30 years' ORDER BY 1;
SELECT name, target, row_key, row_keys, request_id, period FROM audit.holds WHERE name = 'whole table';
ROLLBACK;

-- what is wrong with arguments
SELECT audit.set_retention('-1 day');
SELECT audit.set_retention('0');
SELECT audit.set_retention('1 year', target => 'orders', category => 'x');
SELECT audit.set_retention('1 year', max_events => -1);
SELECT audit.set_retention('1 year', target => 999999);
SELECT audit.drop_retention(category => 'x');
SELECT audit.hold('h', reason => 'r');
SELECT audit.hold('h', target => 'orders');
SELECT audit.hold('h', row_key => '1', request_id => 'r', reason => 'r');
SELECT audit.hold(NULL, target => 'orders', reason => 'r');
SELECT audit.hold('twice', target => 'orders', reason => 'r') > 0 AS held;
SELECT audit.hold('twice', target => 'orders', reason => 'r');
SELECT audit.release_hold('never', 'r');
SELECT audit.release_hold('twice', ' ');
SELECT audit.clear(NULL, 'r');
SELECT audit.clear('x', '');
SELECT audit.erase('orders', '1', NULL);

\c regression
DROP DATABASE regress_retention;
