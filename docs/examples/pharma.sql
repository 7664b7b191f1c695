-- A pharmaceutical audit foundation: requests cause processes, processes ask sources and write results; every change leads back to its
-- request and process, with who, when and why; the chain is verified; performance and API usage go to InfluxDB; migrations roll back.
-- What is kept is kept for seven years.
\set QUIET on
\set SHOW_CONTEXT never
CREATE SCHEMA pharma;
SET search_path = pharma;
CREATE TABLE drug_request (id text PRIMARY KEY, drug text NOT NULL, status text NOT NULL DEFAULT 'open');
CREATE TABLE category_result (request text REFERENCES drug_request, category text, score numeric, summary text, PRIMARY KEY (request, category));
CREATE TABLE source (id int PRIMARY KEY, request text, category text, url text, FOREIGN KEY (request, category) REFERENCES category_result);

-- All operational tables, present and future; a change without its request and its reason is refused.
SELECT audit.attach_schema('pharma', require => '{request_id,reason}');
INSERT INTO drug_request VALUES ('R-1', 'aspirin');

-- A request comes in: a process for it, and one below it for each category. The ids are put in force; no table has columns for them.
BEGIN;
SET LOCAL audit.app_user_id = 'dr.chen';
SET LOCAL audit.reason = 'safety review 2026';
SELECT audit.begin_process('review', request_id => 'R-1', process_id => 'P-review') AS process;
INSERT INTO drug_request VALUES ('R-1', 'aspirin');

SELECT audit.begin_process('interactions', process_id => 'P-interactions') AS process;
SELECT audit.log_request('/v1/search', 'GET', 200, 420, provider => 'literature.example', metadata => '{"usage": {"calls": 1, "cost_usd": 0.02}}') > 0 AS logged;
INSERT INTO category_result VALUES ('R-1', 'interactions', 0.4, 'with warfarin: bleeding');
INSERT INTO source VALUES (1, 'R-1', 'interactions', 'https://literature.example/4711');
SELECT audit.end_process();

SELECT audit.begin_process('dosage', process_id => 'P-dosage') AS process;
SELECT audit.log_request('/v1/search', 'GET', 503, 2500, provider => 'literature.example', error_message => 'overloaded') > 0 AS logged;
SELECT audit.log_request('/v1/search', 'GET', 200, 610, provider => 'literature.example', metadata => '{"usage": {"calls": 1, "cost_usd": 0.02}}') > 0 AS logged;
INSERT INTO category_result VALUES ('R-1', 'dosage', 0.9, '500 mg');
SELECT audit.end_process();

UPDATE drug_request SET status = 'reviewed' WHERE id = 'R-1';
SELECT audit.end_process(status => 'done');
COMMIT;

-- Later, somebody else corrects one result.
BEGIN;
SET LOCAL audit.app_user_id = 'ann';
SET LOCAL audit.reason = 'typing error found by monitoring';
SELECT audit.begin_process('correction', request_id => 'R-2', process_id => 'P-correction') AS process;
UPDATE category_result SET summary = '500 mg, at most 4 g a day' WHERE category = 'dosage';
SELECT audit.end_process();
COMMIT;

-- The processes, as a tree.
SELECT request_id AS request, coalesce(parent_process_id, '') AS parent, process_id, name, actor, status FROM audit.processes ORDER BY started_at;

-- Lineage, forwards: all that a request caused, in order; as text, and as a picture (Mermaid).
SELECT place, array_to_string(process_path, ' > ') AS process, operation, coalesce(table_name, action) AS what, row_key FROM audit.lineage('R-1');
SELECT audit.lineage_graph('R-1') \g (format=unaligned tuples_only=on)

-- Lineage, backwards: how a row became what it is, by which request and process; and who set the value that stands in each column now.
SELECT version, operation, changes -> 'summary' AS summary, request_id, array_to_string(process_path, ' > ') AS process, reason
FROM audit.row_lineage('category_result', '(R-1,dosage)');
SELECT column_name, value, app_user_id AS "user", reason FROM audit.blame('category_result', '(R-1,dosage)');

-- Reports: by user, by table; nothing without a reason. A second person signs.
SELECT grouped_by AS "user", inserts, updates, deletes FROM audit.report_changes('-infinity', 'infinity', 'user');
SELECT grouped_by AS "table", inserts, updates, deletes FROM audit.report_changes('-infinity', 'infinity', 'table');
SELECT count(*) AS changes_without_reason FROM audit.report_reasons('-infinity', 'infinity') WHERE table_name LIKE 'pharma.%';
SELECT audit.sign_off(now() - interval '1 day', now(), 'approved', reviewer => 'rita', remarks => 'one correction, explained') > 0 AS signed;
SELECT reviewer, outcome, changes, actors, remarks FROM audit.sign_offs;

-- A migration, and its rollback: both are in the log.
BEGIN;
SET LOCAL audit.reason = 'migration 7: note who peer-reviewed';
ALTER TABLE category_result ADD COLUMN peer text;
COMMIT;
BEGIN;
SET LOCAL audit.reason = 'rollback of migration 7';
ALTER TABLE category_result DROP COLUMN peer;
COMMIT;
SELECT action, table_name, command, reason FROM audit.report_ddl('-infinity', 'infinity') WHERE action = 'ALTER TABLE';

-- The chain: sealed, and verified from the stored rows.
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, ok FROM audit.verify() WHERE check_name IN ('events', 'leaves', 'checkpoints', 'signatures');

-- Performance and API usage, for InfluxDB (docs/metrics.md tells how it gets there).
SELECT metric, tags ->> 'provider' AS provider, field, value FROM audit.metrics('36500 days', until => 'infinity') WHERE metric = 'api' ORDER BY field;
SELECT regexp_replace(replace(line, current_database(), 'pharma'), ' \d+$', ' …') AS line
FROM audit.metrics_line_protocol(now() - interval '1 day', 'infinity', '36500 days') AS line WHERE line LIKE 'pg_attest_api%';

-- Large data: a hundred thousand changes of one request, their lineage, their seal, each of them verified. How fast: cargo xtask bench.
BEGIN;
SET LOCAL audit.request_id = 'R-3'; SET LOCAL audit.reason = 'import';
INSERT INTO drug_request SELECT 'imported ' || n, 'drug ' || n % 100 FROM generate_series(1, 100000) n;
COMMIT;
SELECT count(*) AS events, count(DISTINCT row_key) AS rows FROM audit.lineage('R-3');
SELECT audit.seal() >= 100000 AS sealed;
SELECT check_name, ok FROM audit.verify() WHERE check_name IN ('events', 'leaves', 'checkpoints', 'signatures');

-- Seven years, locked: nobody can shorten them. Nothing is due yet, and a hold would stop it if it were. Closed months go to Parquet
-- first (attest archive, docs/attest.md): with require_archive nothing leaves before it is there.
SELECT audit.set_retention('7 years', locked => true, require_archive => true);
SELECT audit.set_retention('1 year');
SELECT policy, keep, locked, require_archive FROM audit.retention_policies;
SELECT audit.hold('case 2026/17', request_id => 'R-1', reason => 'inspection announced') > 0 AS held;
SELECT sum(due) AS due, sum(held) AS held FROM audit.apply_retention();
SELECT name, request_id, reason FROM audit.holds WHERE active;
