-- The log in the shape of supa_audit's record_version and audit-trigger's logged_actions: their columns, their meaning.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_compat_views;
SET search_path = regress_compat_views;
SET TimeZone = 'UTC';

SELECT attrelid::regclass AS view, string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) AS columns
FROM pg_attribute WHERE attrelid IN ('audit.record_version'::regclass, 'audit.logged_actions'::regclass) GROUP BY 1 ORDER BY 1;

CREATE TABLE account (id int PRIMARY KEY, name text, balance numeric);
SELECT audit.attach('account');
INSERT INTO account VALUES (1, 'Ann', 10), (2, 'Bob', 20);
UPDATE account SET balance = balance + 1, name = 'Anna' WHERE id = 1;
UPDATE account SET id = 3 WHERE id = 2;
DELETE FROM account WHERE id = 3;
TRUNCATE account;
SELECT audit.log_event('no row change') > 0 AS logged;

SELECT op, table_schema, table_name, record, old_record FROM audit.record_version WHERE table_oid = 'account'::regclass ORDER BY id;
-- record_id follows a row; a change of the key shows in old_record_id
SELECT op, record_id = old_record_id AS same, old_record_id IS NULL AS was_new,
       lag(record_id) OVER (ORDER BY id) = old_record_id AS follows
FROM audit.record_version WHERE table_oid = 'account'::regclass AND op <> 'TRUNCATE' AND coalesce(record, old_record) ->> 'name' = 'Bob' ORDER BY id;
SELECT count(DISTINCT record_id) FROM audit.record_version WHERE table_oid = 'account'::regclass;
SELECT bool_and(ts = occurred_at) AS ts FROM audit.record_version r JOIN audit.audit_events e ON e.event_id = r.id WHERE r.table_oid = 'account'::regclass;

SELECT action, schema_name, table_name, row_data, changed_fields, statement_only, client_port, client_query
FROM audit.logged_actions WHERE relid = 'account'::regclass ORDER BY event_id;
SELECT bool_and(l.session_user_name = session_user AND l.action_tstamp_tx = e.occurred_at AND l.action_tstamp_clk = e.captured_at
                AND l.transaction_id = e.xact_id::text::bigint AND l.application_name = e.application_name) AS same
FROM audit.logged_actions l JOIN audit.audit_events e USING (event_id) WHERE l.relid = 'account'::regclass;
-- with capture => diff, row_data has what the event has
SELECT audit.attach('account', capture => 'diff');
INSERT INTO account VALUES (4, 'Dan', 1);
UPDATE account SET name = 'Daniel';
SELECT action, row_data, changed_fields FROM audit.logged_actions WHERE relid = 'account'::regclass AND action = 'U' ORDER BY event_id DESC LIMIT 1;
-- they are read only
\set VERBOSITY sqlstate
DELETE FROM audit.record_version;
UPDATE audit.logged_actions SET action = 'D';
UPDATE audit.logged_actions SET table_name = 'other';
\set VERBOSITY default

DROP SCHEMA regress_compat_views CASCADE;
