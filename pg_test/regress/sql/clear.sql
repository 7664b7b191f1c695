-- audit.clear removes a category's application events, and what they were stays provable.
SET client_min_messages = warning;
CREATE DATABASE regress_clear TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_clear
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
SET TimeZone = 'UTC';
SELECT audit.log_event('login', category => 'access', description => 'number ' || n) > 0 AS logged, n FROM generate_series(1, 3) n;
SELECT audit.log_event('export', category => 'report') > 0 AS logged;
CREATE TABLE untouched (id int PRIMARY KEY);
SELECT audit.attach('untouched');
INSERT INTO untouched VALUES (1);
CREATE VIEW here AS SELECT operation, category, count(*) AS events FROM audit.audit_events WHERE operation IN ('event', 'insert') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM here;

-- under a hold of one of them nothing of the category goes
SELECT audit.hold('today', period => tstzrange(now() - interval '1 day', NULL), reason => 'inquiry') > 0 AS held;
DO $$
BEGIN
    PERFORM audit.clear('access', 'housekeeping');
    RAISE EXCEPTION 'cleared under a hold';
EXCEPTION WHEN object_in_use THEN
    RAISE WARNING '%', sqlerrm;
END $$;
SELECT * FROM here;
SELECT audit.release_hold('today', 'inquiry closed');

-- nor under a lock, the category's own or the default one
BEGIN;
SELECT audit.set_retention('1 year', category => 'access', locked => true);
SELECT audit.clear('access', 'housekeeping');
ROLLBACK;
BEGIN;
SELECT audit.set_retention('1 year', locked => true);
SELECT audit.clear('access', 'housekeeping');
ROLLBACK;
SELECT audit.clear('access', ' ');
SELECT audit.clear('nothing of this kind', 'housekeeping');

-- what this transaction logged is not sealed: it stays, for its absence could not be shown
BEGIN;
SELECT audit.log_event('login', category => 'access', description => 'not sealed') > 0 AS logged;
SELECT audit.clear('access', 'housekeeping');
COMMIT;
SELECT * FROM here;
SELECT category, context ->> 'category' AS cleared, reason, (context ->> 'count')::int AS events FROM audit.audit_events WHERE operation = 'system' AND action = 'clear';
-- what was said and done about a category is no event of it
SELECT operation, action, context ->> 'category' AS about FROM audit.events(category => '{access}');
SELECT DISTINCT action, category, context ->> 'category' AS about FROM audit.audit_events WHERE operation = 'system' AND context ->> 'category' = 'access' ORDER BY 1;
SELECT subject, pruned, pruned_under FROM audit.retention_report() WHERE pruned > 0;

-- they are declared as gone: the log verifies
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, detail FROM audit.verify() WHERE NOT ok;
SELECT sum((r ->> 2)::bigint - (r ->> 1)::bigint + 1) AS declared FROM audit.audit_events e, jsonb_array_elements(e.context -> 'leaves') r
WHERE e.operation = 'system' AND e.action = 'clear';
SELECT audit.clear('access', 'the rest');
SELECT * FROM here;
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, detail FROM audit.verify() WHERE NOT ok;
\c regression
DROP DATABASE regress_clear;
