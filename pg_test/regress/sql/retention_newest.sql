-- The newest so many events are kept wherever they stand: in months, and in the default partition before, between and after them.
SET client_min_messages = warning;
CREATE DATABASE regress_newest TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_newest
SET client_min_messages = warning;
SET TimeZone = 'UTC';
\set SHOW_CONTEXT never
CREATE EXTENSION pg_attest;
CREATE TABLE notes (id int PRIMARY KEY);
SELECT audit.attach('notes');
SELECT setval('audit.audit_events_event_id_seq', 20000);
CREATE PROCEDURE restore(first int, times timestamptz[]) LANGUAGE sql AS $$
    INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation, salt,
        schema_name, table_name, row_key, session_user_name, effective_role)
    SELECT first + n, at, at, '3', 0, 1, 'notes'::regclass, 'insert', gen_random_uuid(), 'public', 'notes', n::text, 'old', 'old'
    FROM unnest(times) WITH ORDINALITY AS t (at, n)
$$;
SET audit.restore = on;
CALL restore(10000, '{2015-01-05,2015-01-06,2015-01-06,2015-02-01,2015-02-02,2015-05-01,2015-05-02}');
RESET audit.restore;
SELECT sum(done) > 0 AS drained FROM audit.maintain();
-- these are not moved to months of their own
SET audit.restore = on;
CALL restore(11000, '{2014-01-01,2014-02-01,2015-03-31,2015-04-01,2016-01-01}');
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, salt, session_user_name, effective_role, category, action)
VALUES (12001, '2013-07-15', '2013-07-15', '3', 0, 1, 'event', gen_random_uuid(), 'old', 'old', 'gone', 'did'),
       (12002, '2013-08-15', '2013-08-15', '3', 0, 1, 'event', gen_random_uuid(), 'old', 'old', 'gone', 'did');
RESET audit.restore;
\getenv inputdir PG_ABS_SRCDIR
\set reconnect :inputdir '/sql/include/reconnect.sql'
\i :reconnect
INSERT INTO notes VALUES (1), (2), (3);
SELECT audit.seal() > 0 AS sealed;
SELECT tableoid::regclass AS partition, count(*) FROM audit.audit_events WHERE table_name = 'notes' AND operation = 'insert' AND occurred_at < '2017-01-01' GROUP BY 1 ORDER BY 1;
CREATE TABLE expected AS
SELECT event_id, row_number() OVER (ORDER BY occurred_at DESC, event_id DESC) AS age
FROM audit.audit_events WHERE table_name = 'notes' AND operation = 'insert';
-- one fewer after the other, told before and done: what is left is what a sorted list says
CREATE FUNCTION told_and_done(most int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    told bigint;
    done bigint;
    wrong bigint;
BEGIN
    PERFORM audit.set_retention(NULL, target => 'notes', max_events => most);
    SELECT coalesce(sum(due), 0) INTO told FROM audit.apply_retention();
    SELECT coalesce(sum(pruned), 0) INTO done FROM audit.apply_retention(false);
    SELECT count(*) INTO wrong
    FROM (SELECT event_id FROM audit.audit_events WHERE table_name = 'notes' AND operation = 'insert') e
    FULL JOIN (SELECT event_id FROM expected WHERE age <= most) x USING (event_id) WHERE e.event_id IS NULL OR x.event_id IS NULL;
    RETURN format('told %s, done %s, wrong %s', told, done, wrong);
END
$$;
SELECT most, told_and_done(most) FROM generate_series(15, 0, -1) AS most;
-- those of a category, and of whatever no other policy covers
SELECT audit.log_event('login', category => 'login') > 0 AS logged FROM generate_series(1, 3);
INSERT INTO notes VALUES (4), (5);
SELECT audit.seal() > 0 AS sealed;
SELECT audit.set_retention(NULL, category => 'login', max_events => 2), audit.set_retention(NULL, target => 'notes');
SELECT policy, subject, due FROM audit.apply_retention();
SELECT audit.drop_retention('notes'), audit.set_retention(NULL, max_events => 1);
SELECT policy, subject, due FROM audit.apply_retention();

-- what went of the default partition stands under the month of its oldest; what was cleared, too
SELECT audit.clear('gone', 'tidy');
SELECT month, subject, oldest, newest, archived_in, pruned, pruned_under FROM audit.retention_report() WHERE pruned > 0 AND month < '2017-01-01' ORDER BY month, subject, oldest;
SELECT sum(pruned) AS pruned FROM audit.retention_report();

\c regression
DROP DATABASE regress_newest;
