-- Application events: what audit.log_event and audit.log_request keep, cut, redact and refuse.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_activity;
SET search_path = regress_activity;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
-- The application's events since the last look.
CREATE TABLE seen AS SELECT coalesce(max(event_id), 0) AS event_id FROM audit.audit_events;
CREATE FUNCTION told() RETURNS SETOF audit.audit_events LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT e.* FROM audit.audit_events e WHERE e.operation = 'event' AND e.event_id > (SELECT s.event_id FROM seen s) ORDER BY e.event_id;
    UPDATE seen SET event_id = coalesce((SELECT max(e.event_id) FROM audit.audit_events e), 0);
END
$$;

-- an event: what is not said is NULL, or a default; it returns its id
SELECT audit.log_event('login') AS id \gset
SELECT max(event_id) = :id AS is_its_id FROM audit.audit_events;
SELECT operation, action, category, severity, app_user_id, entity_type, entity_id, entity_name, description, context FROM told();
-- with everything, and the context in force
BEGIN;
SELECT audit.set_context('r1', 'p1', 'ann', 'month end', 's1', 't1', '{"ticket": "QA-17"}');
SELECT audit.log_event('export', 'exported 17 orders', 'report', '2026-11', 'Orders of November', 'reporting', 'notice', '{"rows": 17, "format": "csv"}') > 0 AS logged;
COMMIT;
SELECT operation, action, category, severity, entity_type, entity_id, entity_name, description, context FROM told();
SELECT app_user_id, request_id, process_id, session_id, tenant_id, reason FROM audit.audit_events WHERE action = 'export' AND request_id = 'r1';
-- it keeps who calls: session user and effective role
CREATE ROLE regress_activity_app;
SELECT audit.grant_access('regress_activity_app', 'writer');
SET ROLE regress_activity_app;
SELECT audit.log_event('as app') > 0 AS logged, audit.log_request('/', 'get') > 0 AS logged;
INSERT INTO audit.audit_events DEFAULT VALUES;
RESET ROLE;
SELECT action, session_user_name = session_user AS session_user, effective_role FROM told();
-- it is gone with its transaction, and with its savepoint
BEGIN;
SELECT audit.log_event('rolled back') > 0 AS logged;
ROLLBACK;
BEGIN;
SELECT audit.log_event('stays') > 0 AS logged;
SAVEPOINT s;
SELECT audit.log_event('goes') > 0 AS logged;
ROLLBACK TO s;
COMMIT;
SELECT action FROM told();
-- severities
SELECT audit.log_event('s', severity => s) > 0 AS logged FROM unnest('{debug,info,notice,warning,error,critical,NULL}'::text[]) s;
SELECT severity, category FROM told();
-- NULL and empty are none; category NULL is the default
SELECT audit.log_event('empty', '', '', '', '', NULL, NULL, NULL) > 0 AS logged;
SELECT category, severity, description, entity_type, entity_id, entity_name, context FROM told();

-- secrets are redacted at any depth, whatever the key's case and punctuation; null stays null
SELECT audit.log_event('secrets', metadata => '{"password": "x", "userPassword": {"a": 1}, "API-Key": ["k"], "apiKey": 1, "api_key": true, "X-Auth-Token": "t",
    "Set-Cookie": "c", "Authorization": "Bearer", "card_number": 4111, "CVV": "123", "secretary": null, "plain": "password",
    "deep": [1, {"list": [{"private_key": "k", "note": "n"}], "credentials": [1, 2]}], "passphrase": null}') > 0 AS logged;
SELECT jsonb_pretty(context -> 'metadata') FROM told();
SHOW audit.redact_keys;
-- counts of tokens are none; what stands behind a minus is left out of a name
SELECT audit.log_event('counts', metadata => '{"usage": {"input_tokens": 7, "outputTokens": 8, "total_tokens": 15, "cache_read_input_tokens": 2, "prompt_tokens_details": {"cached": 1}},
    "token": "a", "access_token": "b", "refresh_token": "c", "api_token": "d", "tokens": ["e"], "input_token": "f", "input_tokens_secret": "g"}') > 0 AS logged;
SELECT jsonb_pretty(context -> 'metadata') FROM told();
SET audit.redact_keys = 'note, Home_Address, -footnotes';
SELECT audit.log_event('own list', metadata => '{"password": "kept", "note": 1, "homeAddress": 2, "footnotes": 3}') > 0 AS logged;
SELECT context FROM told();
SET audit.redact_keys = '';
SELECT audit.log_event('no list', metadata => '{"password": "kept"}') > 0 AS logged;
SELECT context FROM told();
RESET audit.redact_keys;
-- not for everyone to change
SET ROLE regress_activity_app;
SET audit.redact_keys = '';
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- a request that was served
BEGIN;
SELECT audit.set_context(app_user_id => 'ann', request_id => 'r2');
SELECT audit.log_request('/orders/7?token=abc&page=2&Api-Key=&x', 'get', 200, 12.5, user_agent => 'curl/8', client_ip => '2001:db8::1',
    user_role => 'clerk', request_data => '{"filter": {"password": "x", "open": true}}', metadata => '{"build": 7}') > 0 AS logged;
COMMIT;
SELECT app_user_id, action, category, severity, entity_type, entity_id, description FROM told();
SELECT jsonb_pretty(context) FROM audit.audit_events WHERE request_id = 'r2';
-- one that was sent, failures, and what is not known
SELECT audit.log_request('https://api.example.com/pay', 'POST', 502, 3000, provider => 'example', error_message => 'bad gateway') > 0 AS logged;
SELECT audit.log_request('/a', 'GET', 404) > 0 AS logged;
SELECT audit.log_request('/b', 'GET', error_message => 'connection refused') > 0 AS logged;
SELECT audit.log_request('/c', 'GET', 404, success => true) > 0 AS logged;
SELECT audit.log_request('/d', 'GET', 200, success => false, severity => 'critical', category => 'health') > 0 AS logged;
SELECT audit.log_request('/e', 'GET') > 0 AS logged;
SELECT entity_id, category, severity, description, context FROM told();
-- what comes from outside is cut, and the cut marked
SELECT audit.log_request('/' || repeat('ü', 600), 'GET', 500, error_message => repeat('ä', 500), user_agent => repeat('ö', 501)) > 0 AS logged;
SELECT audit.log_request('/x', 'GET', 500, error_message => repeat('ä', 501)) > 0 AS logged;
SELECT octet_length(entity_id) AS endpoint, right(entity_id, 2) AS ends, length(description) AS error, right(description, 2) AS ends,
       length(context #>> '{request,user_agent}') AS agent, context #>> '{request,error}' = description AS same FROM told();

-- what cannot be taken
SELECT audit.log_event(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event(E' \t\n');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event(repeat('a', 201));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', category => ' ');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', severity => 'INFO');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', severity => '');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', entity_type => repeat('ä', 201));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', entity_id => repeat('ä', 501));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', description => repeat('a', 10001));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', metadata => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', metadata => 'null');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', metadata => jsonb_build_object('a', repeat('x', 1048577)));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('a', metadata => (repeat('{"a":', 200) || '1' || repeat('}', 200))::jsonb);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request(NULL, 'GET');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request(' ', 'GET');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', '');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', 99);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', 600);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', 200, -0.1);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', 200, 'NaN');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', 200, 'Infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', provider => repeat('p', 201));
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_request('/', 'GET', request_data => '"text"');
\echo :LAST_ERROR_SQLSTATE
-- what would make up a process, or its end
SELECT audit.log_event('process started', entity_type => 'process', entity_id => 'made up');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.log_event('process ended', entity_type => 'process', entity_id => 'made up');
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT audit.log_event('a');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT count(*) FROM told();
-- either word alone is free
SELECT audit.log_event('process started', entity_type => 'batch') > 0 AS logged, audit.log_event('planned', entity_type => 'process', entity_id => 'p') > 0 AS logged;
SELECT count(*) FROM told();
SELECT count(*) FROM audit.processes WHERE process_id IN ('p', 'made up');
-- the limits themselves are within
SELECT audit.log_event(repeat('ä', 200), repeat('ä', 10000), repeat('ä', 200), repeat('ä', 500), repeat('ä', 10000), repeat('ä', 200)) > 0 AS logged;
SELECT audit.log_event('deep', metadata => (repeat('{"a":', 100) || '1' || repeat('}', 100))::jsonb) > 0 AS logged;
SELECT audit.log_request('/', 'GET', s, 0) > 0 AS logged FROM unnest('{100,599}'::int[]) s;
SELECT count(*) FROM told();

-- the views: an application user's own, everybody's, the last ones
CREATE TABLE users (id int PRIMARY KEY, name text);
SELECT audit.attach('users');
BEGIN;
SELECT audit.set_context(app_user_id => 'bob.activity');
INSERT INTO users VALUES (1, 'bob');
UPDATE users SET name = 'Bob' WHERE id = 1;
SELECT audit.log_event('rename', 'changed his own name', 'user', '1', 'Bob') > 0 AS logged;
SELECT audit.log_request('/me', 'PATCH', 200, 8) > 0 AS logged;
SELECT audit.set_context(app_user_id => 'eve.activity');
UPDATE users SET name = 'Eve' WHERE id = 1;
COMMIT;
SET ROLE regress_activity_app;
SELECT count(*) FROM audit.my_activity;
SET audit.app_user_id = 'bob.activity';
SELECT operation, action, subject, subject_id, summary FROM audit.my_activity ORDER BY event_id;
SET audit.app_user_id = 'eve.activity';
SELECT operation, action, subject, subject_id, summary FROM audit.my_activity ORDER BY event_id;
RESET audit.app_user_id;
-- the same by pages; of nobody without a user, whatever the page
SELECT count(*) FROM audit.my_events();
SET audit.app_user_id = '';
SELECT count(*) FROM audit.my_events(9223372036854775807, 1000);
SET audit.app_user_id = 'nobody.activity';
SELECT count(*) FROM audit.my_events();
SET audit.app_user_id = 'bob.activity';
SELECT operation, action, subject, subject_id, summary FROM audit.my_events(page_size => 3);
SELECT operation, action, subject, subject_id, summary FROM audit.my_events((SELECT min(event_id) FROM audit.my_events(page_size => 3)), 3);
SELECT array_agg(to_jsonb(m) ORDER BY event_id) = (SELECT array_agg(to_jsonb(e) ORDER BY event_id) FROM audit.my_events() e) AS same FROM audit.my_activity m;
SELECT audit.my_events(page_size => 0);
\echo :LAST_ERROR_SQLSTATE
-- its rights are not lent: what it calls stays closed
SELECT audit.events(app_user_id => 'bob.activity');
\echo :LAST_ERROR_SQLSTATE
-- nor does a search path of the caller's lead it elsewhere
RESET ROLE;
CREATE FUNCTION current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'eve.activity'::text $$;
GRANT USAGE ON SCHEMA regress_activity TO regress_activity_app;
SET ROLE regress_activity_app;
SET search_path = regress_activity, pg_catalog;
SELECT current_setting('audit.app_user_id', true) AS me, count(*) FROM audit.my_events();
SET search_path = regress_activity;
RESET audit.app_user_id;
-- a cheap function of the caller's own sees no other rows
CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
SET client_min_messages = notice;
SET audit.app_user_id = 'eve.activity';
SELECT count(*) FROM audit.my_activity WHERE pg_temp.peek(summary);
SELECT count(*) FROM audit.my_events() WHERE pg_temp.peek(summary);
RESET audit.app_user_id;
SET client_min_messages = warning;
SELECT count(*) FROM audit.activity;
SELECT count(*) FROM audit.recent_activity(5);
RESET ROLE;
SELECT app_user_id, operation, action, subject, subject_id, summary FROM audit.recent_activity(5);
SELECT audit.recent_activity(0);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.recent_activity(NULL);
\echo :LAST_ERROR_SQLSTATE

-- the user is deleted; the trail stays whole
DELETE FROM users WHERE id = 1;
SELECT app_user_id, operation, action, subject, subject_id, summary FROM audit.recent_activity(8) WHERE length(action) < 100 OR action IS NULL;
DROP TABLE users;
SELECT app_user_id, operation, action, subject, subject_id, summary FROM audit.recent_activity(3);
SELECT item FROM audit.status() WHERE NOT ok;

-- they are sealed and proven like the rest
SELECT audit.seal() > 0 AS sealed;
SELECT bool_and(v.ok) AS proven FROM audit.audit_events e CROSS JOIN LATERAL audit.verify_event(e.event_id) v WHERE e.operation = 'event';

DROP OWNED BY regress_activity_app;
DROP ROLE regress_activity_app;
DROP SCHEMA regress_activity CASCADE;
