-- Reports, and the record of their review.
CREATE DATABASE regress_reports TEMPLATE template0;
\c regress_reports
SET client_min_messages = warning;
CREATE EXTENSION pg_attest;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE ROLE regress_reports_app LOGIN;
CREATE ROLE regress_reports_owner LOGIN;
CREATE ROLE regress_reports_auditor LOGIN;
CREATE ROLE regress_reports_thief LOGIN;
SELECT audit.grant_access('regress_reports_app', 'writer'), audit.grant_access('regress_reports_auditor', 'reviewer');
CREATE TABLE orders (id int PRIMARY KEY, qty int);
CREATE TABLE prices (id int PRIMARY KEY, price int);
ALTER TABLE orders OWNER TO regress_reports_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON orders, prices TO regress_reports_app;
SELECT audit.attach('orders'), audit.attach('prices');
SELECT now() AS begin \gset

SET SESSION AUTHORIZATION regress_reports_app;
BEGIN;
SELECT audit.set_context(app_user_id => 'ann', reason => 'order came in');
INSERT INTO orders VALUES (1, 1), (2, 2);
UPDATE orders SET qty = 3 WHERE id = 1;
SELECT audit.set_context(app_user_id => 'bob', reason => ' ');
DELETE FROM orders WHERE id = 2;
INSERT INTO prices VALUES (1, 10);
COMMIT;
UPDATE prices SET price = 11;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_reports_owner;
UPDATE orders SET qty = 4;
ALTER TABLE orders ADD COLUMN note text;
RESET SESSION AUTHORIZATION;
TRUNCATE prices;
SELECT clock_timestamp() AS end \gset

SELECT grouped_by, inserts, updates, deletes, truncates, actors, first_at <= last_at AS ordered FROM audit.report_changes(:'begin', :'end');
SELECT grouped_by = session_user AS is_me, CASE WHEN grouped_by <> session_user THEN grouped_by END AS grouped_by, inserts, updates, deletes, truncates, actors
FROM audit.report_changes(:'begin', :'end', 'user') ORDER BY 1, 2;
SELECT grouped_by = to_char(now(), 'YYYY-MM-DD') OR grouped_by = to_char(now() - interval '1 day', 'YYYY-MM-DD') AS today, sum(inserts + updates + deletes + truncates) AS changes
FROM audit.report_changes(:'begin', :'end', 'day') GROUP BY 1;
-- oracle: whatever it is grouped by, the sums are those of the log
SELECT g.name, sum(inserts) = count.i AND sum(updates) = count.u AND sum(deletes) = count.d AND sum(truncates) = count.t AS right
FROM (VALUES ('user'), ('table'), ('day')) AS g (name)
CROSS JOIN LATERAL audit.report_changes(:'begin', :'end', g.name)
CROSS JOIN (SELECT count(*) FILTER (WHERE operation = 'insert') AS i, count(*) FILTER (WHERE operation = 'update') AS u,
                   count(*) FILTER (WHERE operation = 'delete') AS d, count(*) FILTER (WHERE operation = 'truncate') AS t
            FROM audit.audit_events WHERE occurred_at >= :'begin' AND occurred_at < :'end') AS count
GROUP BY g.name, count.i, count.u, count.d, count.t;
SELECT table_name, CASE WHEN actor = session_user THEN 'me' ELSE actor END AS actor, changes, without_reason FROM audit.report_reasons(:'begin', :'end') ORDER BY 1, 2;
SELECT CASE WHEN session_user_name = session_user THEN 'me' ELSE session_user_name END AS session_user, table_name, by_superuser, by_owner, outside_application, changes
FROM audit.report_privileged(:'begin', :'end') ORDER BY 1, 2, 5;
SELECT action, table_name, command, reason, CASE WHEN session_user_name = session_user THEN 'me' ELSE session_user_name END AS session_user FROM audit.report_ddl(:'begin', :'end');
SELECT count(*) FROM audit.report_ddl('-infinity', :'begin');
-- nothing in a period without changes
SELECT count(*) FROM audit.report_changes('2000-01-01', '2000-02-01');
SELECT count(*) FROM audit.report_reasons('2000-01-01', '2000-02-01');

-- who can do what: other databases' roles aside
GRANT SELECT, DELETE ON audit.audit_events TO regress_reports_thief;
GRANT INSERT ON audit.attachment TO regress_reports_thief;
GRANT EXECUTE ON FUNCTION audit.seal() TO PUBLIC;
ALTER TABLE orders DISABLE TRIGGER audit_update;
SELECT * FROM audit.report_access_health() WHERE subject ~ '^regress_reports|^audit|^[0-9]' AND item <> 'owns part of the audit';
REVOKE ALL ON audit.audit_events, audit.attachment FROM regress_reports_thief;
REVOKE EXECUTE ON FUNCTION audit.seal() FROM PUBLIC;
ALTER FUNCTION audit.guard() OWNER TO regress_reports_thief;
SELECT audit.attach('orders');
SELECT * FROM audit.report_access_health() WHERE NOT ok;
ALTER FUNCTION audit.guard() OWNER TO CURRENT_USER;
SELECT * FROM audit.report_access_health() WHERE NOT ok;

-- a review
SET SESSION AUTHORIZATION regress_reports_auditor;
SELECT audit.sign_off(:'begin', :'end', 'approved', remarks => 'all explained') AS review \gset
SELECT event_id = :review AS same, since = :'begin' AS since, until = :'end' AS until, scope, reviewer, outcome, remarks, changes, actors, session_user_name, app_user_id FROM audit.sign_offs;
SELECT count(*) = max(s.changes) AS all_counted, max(e.event_id) = max(s.last_event_id) AS last_known
FROM audit.audit_events e, audit.sign_offs s
WHERE e.occurred_at >= s.since AND e.occurred_at < s.until AND e.operation IN ('insert', 'update', 'delete', 'truncate', 'ddl');
BEGIN;
SELECT audit.set_context(app_user_id => 'carol');
SELECT audit.sign_off(:'begin', :'end', 'approved with findings', scope => '{orders,prices}') > 0 AS signed;
SELECT audit.sign_off(:'begin', :'end', 'rejected', reviewer => 'Dr. Dora', scope => '{prices}') > 0 AS signed;
-- a period without changes can be signed off, too
SELECT audit.sign_off('2000-01-01', '2000-02-01', 'approved') > 0 AS signed;
COMMIT;
SELECT scope, reviewer, outcome, remarks, changes, actors, app_user_id FROM audit.sign_offs ORDER BY event_id;
RESET SESSION AUTHORIZATION;
-- the only actor cannot: neither as himself nor under another's name, nor somebody for him
SELECT now() AS alone \gset
SET SESSION AUTHORIZATION regress_reports_app;
BEGIN;
SELECT audit.set_context(app_user_id => 'ann');
UPDATE orders SET qty = 5 WHERE id = 1;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT clock_timestamp() AS after \gset
SELECT audit.grant_access('regress_reports_app', 'reviewer');
SET SESSION AUTHORIZATION regress_reports_app;
SET audit.app_user_id = 'ann';
SELECT audit.sign_off(:'alone', :'after', 'approved');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off(:'alone', :'after', 'approved', reviewer => 'Dr. Dora');
\echo :LAST_ERROR_SQLSTATE
SET audit.app_user_id = 'bob';
SELECT audit.sign_off(:'alone', :'after', 'approved', reviewer => 'ann');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off(:'alone', :'after', 'approved') > 0 AS signed;
RESET SESSION AUTHORIZATION;
-- nobody else can make one up
SELECT audit.log_event('sign off', category => 'review') > 0 AS logged;
SELECT count(*) FROM audit.sign_offs;

-- what cannot be taken
SET SESSION AUTHORIZATION regress_reports_auditor;
SELECT audit.sign_off(NULL, :'end', 'approved');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT audit.sign_off(:'end', :'begin', 'approved');
SELECT audit.sign_off(:'begin', 'infinity', 'approved');
SELECT audit.sign_off(:'begin', now() + interval '1 hour', 'approved');
\set VERBOSITY default
SELECT audit.sign_off('2000-01-01', '3000-01-01', 'approved');
SELECT audit.sign_off(:'begin', :'end', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off(:'begin', :'end', 'Approved');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off(:'begin', :'end', 'approved', reviewer => '');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off(:'begin', :'end', 'approved', remarks => repeat('x', 10001));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off_with(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off_with('{"outcome": "approved", "since": "yesterdayish", "until": "x", "scope": []}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.sign_off_with('[]');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_changes(NULL, now());
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_changes('2026-01-01', '2026-01-01');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_changes('2026-01-01', '2026-02-01', 'hour');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_changes('2026-01-01', '2026-02-01', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_reasons(NULL, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_privileged('2026-02-01', '2026-01-01');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM audit.report_ddl('2026-02-01', NULL);
\echo :LAST_ERROR_SQLSTATE
-- a writer reads no report
SET SESSION AUTHORIZATION regress_reports_thief;
SELECT * FROM audit.report_changes('2026-01-01', '2026-02-01');
SELECT audit.sign_off(:'begin', :'end', 'approved');
RESET SESSION AUTHORIZATION;

\c postgres
DROP DATABASE regress_reports;
DROP ROLE regress_reports_app, regress_reports_owner, regress_reports_auditor, regress_reports_thief;
