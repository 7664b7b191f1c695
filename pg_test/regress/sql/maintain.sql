-- Months, the default partition and audit.maintain().
-- In a database of its own.
SET client_min_messages = warning;
CREATE DATABASE regress_maintain TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_maintain
SET client_min_messages = warning;
\set SHOW_CONTEXT never

CREATE EXTENSION pg_attest;
CREATE TABLE t (id int PRIMARY KEY, v text);
-- months are made by the first attach; the install script makes none
SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit.audit_events'::regclass;
SELECT audit.attach('t');
SELECT count(*) - 1 AS months,
       bool_and(to_regclass('audit.audit_events_' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => ahead), 'YYYY_MM')) IS NOT NULL) AS ahead
FROM pg_inherits, generate_series(0, 2) AS ahead WHERE inhparent = 'audit.audit_events'::regclass AND ahead = 0;
SELECT item FROM audit.status() WHERE NOT ok;
SELECT * FROM audit.maintain();

-- the bounds of a month are UTC's, whatever the session's time zone
SELECT to_char(now() AT TIME ZONE 'UTC', '"audit.audit_events_"YYYY_MM') AS month,
       to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '"audit.audit_events_"YYYY_MM') AS next
\gset
INSERT INTO t VALUES (1, 'x');
SELECT tableoid::regclass = :'month'::regclass AS in_its_month FROM audit.audit_events WHERE row_key = '1';

-- without a partition for its month an event goes to the default partition: no write fails
SET audit.allow_drop = on;
DROP TABLE :month, :next;
RESET audit.allow_drop;
INSERT INTO t VALUES (2, 'homeless');
SELECT tableoid::regclass, row_key FROM audit.audit_events WHERE operation = 'insert';
SELECT item, value FROM audit.status() WHERE NOT ok AND item LIKE '%default%';
SET TimeZone = 'Pacific/Kiritimati';
SELECT count(*) AS rows, sum(done) > 1 AS done FROM audit.maintain();
RESET TimeZone;
SELECT item FROM audit.status() WHERE NOT ok;
SELECT tableoid::regclass = :'month'::regclass AS in_its_month, row_key FROM audit.audit_events WHERE operation = 'insert';
INSERT INTO t VALUES (3, 'at home');
SELECT tableoid::regclass = :'month'::regclass AS in_its_month, row_key FROM audit.audit_events WHERE row_key = '3';
SELECT count(*) AS indexes FROM pg_index WHERE indrelid = :'month'::regclass;
-- what it makes is guarded as the rest
\set VERBOSITY sqlstate
TRUNCATE :month;
DELETE FROM :month;
\set VERBOSITY default

-- events of long ago that a restore brought, or of a time that has no month
SET audit.restore = on;
INSERT INTO audit.audit_events (event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, operation, session_user_name, effective_role)
VALUES (-1, '2001-05-05', now(), '1', 1, 1, 'event', 'a', 'b'), (-2, 'infinity', now(), '1', 1, 1, 'event', 'a', 'b');
RESET audit.restore;
SELECT task, done FROM audit.maintain();
SELECT event_id, tableoid::regclass FROM audit.audit_events WHERE event_id < 0 ORDER BY 1;
SELECT task, done FROM audit.maintain();

-- temporary tables of the names that it uses are in nobody's way; nor is a transaction, nor an isolation level
CREATE TEMPORARY TABLE audit_events (i int);
CREATE TEMPORARY TABLE audit_drain (i int);
CREATE TEMPORARY TABLE audit_events_default (i int);
SET search_path = pg_temp;
SET audit.allow_drop = on;
DROP TABLE :month, :next;
RESET audit.allow_drop;
INSERT INTO public.t VALUES (4, 'homeless');
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO public.t VALUES (5, 'homeless');
SELECT count(*) AS rows FROM audit.maintain();
INSERT INTO public.t VALUES (6, 'homeless');
ROLLBACK;
SELECT tableoid::regclass FROM audit.audit_events WHERE row_key IN ('4', '5', '6');
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO public.t VALUES (7, 'homeless');
SELECT count(*) AS rows FROM audit.maintain();
INSERT INTO public.t VALUES (8, 'at home');
COMMIT;
SELECT tableoid::regclass = :'month'::regclass AS in_its_month, row_key FROM audit.audit_events WHERE row_key IN ('4', '7', '8') ORDER BY 2;
RESET search_path;
SELECT item FROM audit.status() WHERE NOT ok AND item NOT LIKE '%default%';

-- it asks for EXECUTE only
CREATE ROLE regress_maintain;
GRANT EXECUTE ON FUNCTION audit.maintain() TO regress_maintain;
SET ROLE regress_maintain;
SELECT count(*) AS rows FROM audit.maintain();
RESET ROLE;
DROP OWNED BY regress_maintain;
DROP ROLE regress_maintain;

\c regression
DROP DATABASE regress_maintain;
