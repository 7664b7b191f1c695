-- The audit events of a task manager: tasks created, changed and deleted; attachments; reminders that the system sends.
\set QUIET on
CREATE SCHEMA tasks;
SET search_path = tasks;
CREATE TABLE task (id int PRIMARY KEY, title text NOT NULL, status text NOT NULL DEFAULT 'open', due date);
CREATE TABLE attachment (id int PRIMARY KEY, task int NOT NULL REFERENCES task ON DELETE CASCADE, file_name text, access_token text);
-- Every change of every row, and access_token masked, for its name looks secret.
SELECT audit.attach_schema('tasks');

-- What a request does: one transaction, with who and why.
BEGIN;
SET LOCAL audit.app_user_id = 'ann'; SET LOCAL audit.request_id = 'req-1';
INSERT INTO task (id, title, due) VALUES (1, 'Write the report', '2026-12-01');
INSERT INTO attachment VALUES (100, 1, 'data.csv', 'tok-4711');
COMMIT;

BEGIN;
SET LOCAL audit.app_user_id = 'ben'; SET LOCAL audit.request_id = 'req-2'; SET LOCAL audit.reason = 'done';
UPDATE task SET status = 'done' WHERE id = 1;
COMMIT;

-- What the system does of itself has no application user.
SELECT audit.log_event('reminder.sent', 'The task is due tomorrow', entity_type => 'task', entity_id => '1', category => 'reminder',
                       metadata => '{"channel": "mail", "smtp": {"host": "mail.example", "password": "hunter2"}}') > 0 AS logged;

BEGIN;
SET LOCAL audit.app_user_id = 'ann'; SET LOCAL audit.request_id = 'req-3'; SET LOCAL audit.reason = 'duplicate';
DELETE FROM task WHERE id = 1;
COMMIT;

-- Action, user, resource, what changed: one list for rows and events.
SELECT coalesce(action, table_name || '.' || operation) AS action, app_user_id AS "user", coalesce(entity_type, table_name) AS resource,
       coalesce(entity_id, row_key) AS id, changed_columns AS changed, reason
FROM audit.audit_events WHERE operation <> 'system' ORDER BY event_id;

-- No secret is in it: neither the column's nor the metadata's.
SELECT new_values FROM audit.audit_events WHERE table_name = 'attachment' AND operation = 'insert';
SELECT context -> 'metadata' AS metadata FROM audit.audit_events WHERE action = 'reminder.sent';
SELECT count(*) AS leaks FROM audit.audit_events e WHERE e::text ~ 'hunter2|tok-4711';

-- One request, with all that it did; and what happened to one task.
SELECT operation, table_name, row_key FROM audit.events(request_id => 'req-3') ORDER BY event_id;
SELECT operation, app_user_id AS "user", changed_columns AS changed FROM audit.events(target => 'task', row_key => '1') ORDER BY event_id;
