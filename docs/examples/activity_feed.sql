-- An application's activity feed: what its users did lately, by kind, by user, by thing; kept when a user is deleted.
\set QUIET on
CREATE SCHEMA blog;
SET search_path = blog;
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE posts (id int PRIMARY KEY, author int REFERENCES users ON DELETE CASCADE, title text NOT NULL);
INSERT INTO users VALUES (1, 'Ann'), (2, 'Ben');
SELECT audit.attach_schema('blog');

-- The application keeps the call that it has; the events go to the log.
CREATE FUNCTION log_activity(user_id int, kind text, entity_type text, entity_id int, entity_name text, details jsonb DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
    SELECT audit.set_context(app_user_id => user_id::text);
    SELECT audit.log_event(kind, entity_type => entity_type, entity_id => entity_id::text, entity_name => entity_name,
                           category => 'feed', metadata => details);
$$;

INSERT INTO posts VALUES (10, 1, 'Hello'), (11, 2, 'World');
SELECT log_activity(1, 'post.created', 'post', 10, 'Hello');
SELECT log_activity(2, 'post.created', 'post', 11, 'World');
SELECT log_activity(2, 'comment.added', 'post', 10, 'Hello', '{"text": "Nice!"}');
SELECT log_activity(1, 'post.liked', 'post', 11, 'World');

-- The feed, newest first; audit.recent_activity(n) has the row changes as well.
SELECT app_user_id AS "user", action, entity_name, context #>> '{metadata,text}' AS text
FROM audit.events(category => '{feed}', page_size => 10);
SELECT app_user_id AS "user", operation, action, subject, subject_id FROM audit.recent_activity(5);

-- By kind, by user, by thing.
SELECT app_user_id AS "user", entity_name FROM audit.events(action => '{post.created}');
SELECT action, entity_name FROM audit.events(app_user_id => '2', category => '{feed}');
SELECT app_user_id AS "user", action FROM audit.events(entity_type => 'post', entity_id => '11');

-- How often what was done: read from where the summaries say that the feed's events are.
SELECT action, count(*) FROM audit.events_having('{"category": ["feed"]}', '-infinity', 'infinity')
WHERE category = 'feed' GROUP BY action ORDER BY 2 DESC, 1;

-- Ben leaves. What he did stays, and so does what he wrote, as it was.
BEGIN;
SET LOCAL audit.app_user_id = '1'; SET LOCAL audit.reason = 'account closed on request';
DELETE FROM users WHERE id = 2;
COMMIT;
SELECT count(*) AS users, (SELECT count(*) FROM posts) AS posts FROM users;
SELECT action, entity_name FROM audit.events(app_user_id => '2', category => '{feed}');
SELECT table_name AS "table", row_key AS key, old_values, reason FROM audit.audit_events
WHERE operation = 'delete' ORDER BY table_name;

-- None of it can be altered, nor removed.
TRUNCATE audit.audit_events;
