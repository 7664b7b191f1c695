-- Processes, the lineage of a request and of a row, and its graph.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_lineage;
SET search_path = regress_lineage;
\set SHOW_CONTEXT never
CREATE TABLE drugs (id int PRIMARY KEY, name text);
CREATE TABLE results (id int PRIMARY KEY, drug int, finding text);
SELECT audit.attach('drugs'), audit.attach('results');

-- A root process with its request; ids are UUIDs of version 7, from now
BEGIN;
SELECT audit.begin_process('intake', 'lin-1') AS intake \gset
SELECT :'intake' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS is_v7,
       abs(extract(epoch FROM clock_timestamp()) * 1000 - ('x' || lpad(left(replace(:'intake', '-', ''), 12), 16, '0'))::bit(64)::bigint) < 60000 AS is_now;
SELECT audit.context() = jsonb_build_object('process_id', :'intake', 'request_id', 'lin-1') AS in_force;
INSERT INTO drugs VALUES (1, 'Metformin'), (2, 'Insulin');
COMMIT;
-- It was for the transaction
SELECT audit.context();

-- A child with a request of its own, a grandchild that inherits it; ending puts back what was before
BEGIN;
SET LOCAL audit.app_user_id = 'research';
SELECT audit.begin_process('research "x" #1 <b>', 'sub-9', :'intake', '{"model": "v1"}', 'lin-research');
INSERT INTO results VALUES (1, 1, 'dose');
SELECT audit.begin_process('sources', process_id => 'lin-sources', metadata => '{"n": 0}');
SELECT audit.context() - 'app_user_id' AS context;
INSERT INTO results VALUES (2, 1, 'source');
SELECT audit.end_process(status => 'failed', metadata => '{"n": 3}');
SELECT audit.context() - 'app_user_id' AS context;
UPDATE results SET finding = 'dosage' WHERE id = 1;
SELECT audit.end_process('lin-research');
SELECT audit.context() - 'app_user_id' AS context;
COMMIT;

-- For the session: is_local => false at both ends. Without a request in force, the parent's is taken, else a new one is made
SELECT audit.begin_process('bulk', parent_process_id => 'lin-sources', process_id => 'lin-bulk', is_local => false);
SELECT audit.context();
UPDATE drugs SET name = upper(name);
SELECT audit.end_process(is_local => false);
SELECT audit.context();
BEGIN;
SELECT audit.begin_process('lonely') AS lonely \gset
SELECT request_id ~ '-7...-' AS made, parent_process_id FROM audit.processes WHERE process_id = :'lonely';
-- '' asks for a root
SELECT audit.begin_process('root', parent_process_id => '') AS root \gset
SELECT parent_process_id, request_id = (SELECT request_id FROM audit.processes WHERE process_id = :'lonely') AS same_request FROM audit.processes WHERE process_id = :'root';
SELECT audit.end_process();
SELECT audit.context() ->> 'process_id' = :'lonely' AS lonely_again;
ROLLBACK;
SELECT count(*) FROM audit.processes WHERE process_id IN (:'lonely', :'root');

-- What is in one statement sees what was before it
SELECT audit.end_process(audit.begin_process('short', 'lin-2', process_id => 'lin-short'), 'ok');

-- A process id that was never begun, and changes without one
BEGIN; SET LOCAL audit.request_id = 'lin-1'; SET LOCAL audit.reason = 'by hand'; DELETE FROM drugs WHERE id = 2;
SET LOCAL audit.process_id = 'loose'; INSERT INTO drugs VALUES (3, 'loose'); COMMIT;
-- Another request in a process that is not its own stays out
BEGIN; SET LOCAL audit.request_id = 'lin-3'; SET LOCAL audit.process_id = 'loose'; UPDATE drugs SET name = 'other' WHERE id = 3; COMMIT;
SELECT audit.end_process(:'intake');

SELECT name, CASE parent_process_id WHEN :'intake' THEN 'intake' ELSE parent_process_id END AS parent, request_id, actor, status, metadata, ended_at >= started_at AS ended, duration = ended_at - started_at AS duration
FROM audit.processes WHERE request_id IN ('lin-1', 'lin-2', 'sub-9') ORDER BY started_at;

SELECT place, process_path, operation AS op, action, table_name AS tab, row_key AS key, changed_columns AS changed, reason, request_id FROM audit.lineage('lin-1');
SELECT place, process_path, process_ids, operation AS op, action FROM audit.lineage('lin-2');
SELECT count(*) FROM audit.lineage('nobody''s');
SELECT version, operation AS op, changes, request_id, process_path, reason, app_user_id FROM audit.row_lineage('results', '1');
SELECT version, operation AS op, request_id, process_path, reason FROM audit.row_lineage('drugs', '2');
\pset format unaligned
SELECT audit.lineage_graph('lin-1');
SELECT audit.lineage_graph('lin-2');
SELECT audit.lineage_graph('no "such" request');
\pset format aligned

-- Each line of a graph is one of a few forms, whatever the names are
BEGIN;
SET LOCAL audit.app_user_id = E'"]; click r "javascript:alert(1)"\n--> x';
CREATE TABLE "quo""te & [odd] --> x" (id int PRIMARY KEY);
SELECT audit.attach('"quo""te & [odd] --> x"');
SELECT count(audit.begin_process(name, E'req "`]\n%%{init}%%', parent_process_id => NULL)) FROM (VALUES ('end'), ('a --> b'), ('`md` **x**'), ('&amp; #quot; ]'), ('日本')) n (name);
INSERT INTO "quo""te & [odd] --> x" VALUES (1);
SELECT line FROM regexp_split_to_table(audit.lineage_graph(E'req "`]\n%%{init}%%'), E'\n') line;
SELECT line FROM regexp_split_to_table(audit.lineage_graph(E'req "`]\n%%{init}%%'), E'\n') WITH ORDINALITY l (line, n)
WHERE line !~ CASE WHEN n = 1 THEN '^flowchart TD$'
                   ELSE '^    ([rpt]\d*(\["[^"`<>%]*(<br/>[^"`<>%]*)?"\]|\[\("[^"`<>%]*"\)\]|\(\["[^"`<>%]*"\]\))|[rp]\d* --> p\d+|[rp]\d* -->\|"(\d+ \w+(, )?)+"\| t\d+)$' END;
ROLLBACK;

-- Cycles of processes that name each other as parents end
BEGIN;
SELECT audit.begin_process('a', 'lin-cycle', 'lin-b', process_id => 'lin-a');
SELECT audit.begin_process('b', 'lin-cycle', 'lin-a', process_id => 'lin-b');
SELECT ids, names FROM audit.process_path('lin-a');
SELECT count(*) FROM audit.lineage('lin-cycle');
ROLLBACK;

DROP SCHEMA regress_lineage CASCADE;
