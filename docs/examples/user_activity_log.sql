-- The user-activity log of a web platform: every request with user, role, tenant, session, status and time; secrets redacted, messages
-- cut; a view for the user, one for administrators. How its months are kept stands at the end.
\set QUIET on
SELECT count(*) > 0 AS maintained FROM audit.maintain();
CREATE ROLE example_platform;
SELECT audit.grant_access('example_platform', 'writer');
GRANT SELECT ON audit.my_activity TO example_platform;
SET ROLE example_platform;

-- The platform sets who, for whom and where once a transaction, and logs its requests.
BEGIN;
SET LOCAL audit.app_user_id = 'ann'; SET LOCAL audit.tenant_id = 'acme'; SET LOCAL audit.session_id = 's-1'; SET LOCAL audit.request_id = 'req-1';
SELECT audit.log_request('/login', 'POST', 200, 48.5, user_role => 'editor', client_ip => '192.0.2.7', user_agent => 'Mozilla/5.0',
                         request_data => '{"user": "ann", "password": "hunter2"}') > 0 AS logged;
COMMIT;
BEGIN;
SET LOCAL audit.app_user_id = 'ann'; SET LOCAL audit.tenant_id = 'acme'; SET LOCAL audit.session_id = 's-1'; SET LOCAL audit.request_id = 'req-2';
SELECT audit.log_request('/orders/17?token=abc', 'GET', 404, 12, user_role => 'editor') > 0 AS logged;
COMMIT;
BEGIN;
SET LOCAL audit.app_user_id = 'ben'; SET LOCAL audit.tenant_id = 'globex'; SET LOCAL audit.session_id = 's-2'; SET LOCAL audit.request_id = 'req-3';
SELECT audit.log_request('/export', 'POST', 500, 30000, user_role => 'admin', error_message => repeat('stack frame; ', 100)) > 0 AS logged;
COMMIT;

-- What a user sees of it: their own, as the platform says who they are.
BEGIN;
SET LOCAL audit.app_user_id = 'ann';
SELECT severity, subject_id AS endpoint, summary FROM audit.my_activity ORDER BY event_id;
COMMIT;
SELECT count(*) AS without_a_user FROM audit.my_activity;
-- The log itself is closed to the platform.
SELECT count(*) FROM audit.activity;
RESET ROLE;

-- What administrators see: every dimension is a filter.
SELECT app_user_id AS "user", context #>> '{request,user_role}' AS role, context #>> '{request,method}' AS method, entity_id AS endpoint,
       context #> '{request,status_code}' AS status, context #> '{request,response_time_ms}' AS ms, context #> '{request,success}' AS success
FROM audit.events(category => '{request}');
SELECT session_id, entity_id AS endpoint FROM audit.events(tenant_id => 'acme');
SELECT app_user_id AS "user", entity_id AS endpoint FROM audit.events(severity => '{warning,error}');
SELECT context #> '{request,data}' AS request_data, context #>> '{request,client_ip}' AS ip, context #>> '{request,user_agent}' AS agent
FROM audit.events(request_id => 'req-1');
SELECT length(description) AS length, right(description, 20) AS ends FROM audit.events(request_id => 'req-3');

-- Who is slow, and how often it fails.
SELECT field, value FROM audit.metrics('36500 days', until => 'infinity') WHERE metric = 'requests' ORDER BY field;

-- Twelve months stay; older ones leave by the month, each after it was archived (attest archive).
SELECT audit.set_retention('12 months', category => 'request', require_archive => true);
SELECT subject, policy, events FROM audit.retention_report() WHERE subject = 'category request';

DROP OWNED BY example_platform;
DROP ROLE example_platform;
