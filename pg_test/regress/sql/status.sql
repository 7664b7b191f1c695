-- audit.status() and audit.attachments: what is switched off is seen at once.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_status;
SET search_path = regress_status;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

-- all is well
SELECT item, ok, hint FROM audit.status()
WHERE item IN ('version', 'attached tables', 'attached schemas', 'tables with broken triggers', 'disabled event triggers', 'months ahead',
               'events in the default partition', 'events') ORDER BY item;
SELECT item FROM audit.status() WHERE NOT ok;
CREATE TABLE t (id int PRIMARY KEY);
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT audit.attach('t'), audit.attach('part');
SELECT item FROM audit.status() WHERE NOT ok;

-- case 25: triggers that are dropped, disabled, or not enabled ALWAYS; of a partition, too
ALTER TABLE t DISABLE TRIGGER ALL;
DROP TRIGGER audit_insert ON part_1;
SELECT item, value, hint FROM audit.status() WHERE NOT ok;
SELECT * FROM audit.trigger_health('t');
SELECT * FROM audit.trigger_health('part');
SELECT target, healthy, problems FROM audit.attachments WHERE schema_name = 'regress_status' ORDER BY 1;
SELECT audit.attach('t'), audit.attach('part');
SELECT item FROM audit.status() WHERE NOT ok;
SELECT op, tab, action, command FROM look();
-- a trigger of that name which is not ours, or has another argument
DROP TRIGGER audit_insert ON t;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER audit_insert AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION nothing();
ALTER TABLE t ENABLE ALWAYS TRIGGER audit_insert;
SELECT target, healthy, problems FROM audit.attachments WHERE target = 't'::regclass;
DROP TRIGGER audit_insert ON t;
SELECT audit.attach('t');
SELECT target, healthy, problems FROM audit.attachments WHERE target = 't'::regclass;

-- event triggers
ALTER EVENT TRIGGER audit_sql_drop DISABLE;
SELECT item, value, hint FROM audit.status() WHERE NOT ok;
ALTER EVENT TRIGGER audit_sql_drop ENABLE;
SELECT item, value FROM audit.status() WHERE NOT ok;
ALTER EVENT TRIGGER audit_sql_drop ENABLE ALWAYS;
SELECT item FROM audit.status() WHERE NOT ok;

-- the guards of the log (the hint names the month's partition)
ALTER TABLE audit.audit_events DISABLE TRIGGER refuse_write;
SELECT count(*) > 0 AS seen FROM audit.status() WHERE NOT ok;
ALTER TABLE audit.audit_events ENABLE ALWAYS TRIGGER refuse_write;
SELECT item FROM audit.status() WHERE NOT ok;
ALTER TABLE audit.audit_events_default DISABLE TRIGGER refuse_truncate;
SELECT count(*) > 0 AS seen FROM audit.status() WHERE NOT ok;
ALTER TABLE audit.audit_events_default ENABLE ALWAYS TRIGGER refuse_truncate;
SELECT item FROM audit.status() WHERE NOT ok;

-- who is not attached has no health
SELECT * FROM audit.trigger_health('pg_class');
SELECT * FROM audit.trigger_health(4294967295::oid);

DROP SCHEMA regress_status CASCADE;
