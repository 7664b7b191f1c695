-- Cases 1, 2, 5, 6, 7: nothing of an ordinary role runs in capture, hides from it, or reads or changes the audit.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_security;
SET search_path = regress_security;
\set SHOW_CONTEXT never
\getenv inputdir PG_ABS_SRCDIR
\set tools :inputdir '/sql/include/tools.sql'
\set ECHO none
\i :tools
\set ECHO all

CREATE ROLE regress_security_app;
CREATE ROLE regress_security_owner;
GRANT USAGE ON SCHEMA regress_security TO regress_security_app;
GRANT USAGE, CREATE ON SCHEMA regress_security TO regress_security_owner;
CREATE SCHEMA regress_security_evil;
GRANT ALL ON SCHEMA regress_security_evil TO regress_security_app;
CREATE FUNCTION ran(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING '% ran as %', what, current_user; END $$;

-- case 1, 2: operators, functions and temporary objects that shadow ours
CREATE TABLE t (id int PRIMARY KEY, n numeric, j json, a int[], x text);
GRANT SELECT, INSERT, UPDATE, DELETE ON t TO regress_security_app;
SELECT audit.attach('t', baseline => true);
SET ROLE regress_security_app;
SET search_path = regress_security_evil, pg_catalog;
CREATE FUNCTION equal(numeric, numeric) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_security.ran('operator'); RETURN true; END $$;
CREATE OPERATOR = (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = equal);
CREATE FUNCTION to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_security.ran('to_jsonb'); RETURN NULL; END $$;
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_security.ran('now'); RETURN NULL; END $$;
CREATE TEMPORARY TABLE audit_events (event_id int);
CREATE TEMPORARY TABLE audit_events_default (event_id int);
CREATE TEMPORARY TABLE attachment (relation regclass, settings jsonb);
CREATE TEMPORARY TABLE pg_class (oid oid, relname name);
SET search_path = pg_temp, regress_security_evil, pg_catalog;
INSERT INTO regress_security.t VALUES (1, 1.5, '{}', '{1}', 'x');
UPDATE regress_security.t SET n = 1.50;
DELETE FROM regress_security.t;
SELECT count(*) FROM pg_temp.audit_events;
RESET ROLE;
-- by a superuser with that search_path, too
INSERT INTO regress_security.t VALUES (2, 1.5, '{}', '{1}', 'x');
SELECT audit.attach('regress_security.t', capture => 'diff');
SELECT count(*) > 0 AS some FROM audit.status();
SET search_path = regress_security;
DROP TABLE pg_temp.pg_class;
SELECT op, effective_role, new FROM look() WHERE op <> 'system';
SELECT * FROM replay_mismatches('t');

-- case 1: a cast to json of an ordinary role's own, which to_jsonb would call; also within a composite type that changes later
SET ROLE regress_security_app;
CREATE TYPE regress_security_evil.c AS (a int);
CREATE TYPE regress_security_evil.x AS ENUM ('q');
CREATE TYPE regress_security_evil.late AS (a int);
CREATE FUNCTION regress_security_evil.to_json(regress_security_evil.x) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_security.ran('cast'); RETURN '1'; END $$;
CREATE FUNCTION regress_security_evil.to_json(regress_security_evil.late) RETURNS json LANGUAGE sql AS $$ SELECT regress_security.ran('cast'); SELECT '1'::json $$;
CREATE CAST (regress_security_evil.x AS json) WITH FUNCTION regress_security_evil.to_json(regress_security_evil.x);
CREATE DOMAIN regress_security_evil.d AS regress_security_evil.c;
RESET ROLE;
CREATE TABLE typed (id int PRIMARY KEY, c regress_security_evil.c, x regress_security_evil.x, xs regress_security_evil.x[],
                    cs regress_security_evil.c[], d regress_security_evil.d, late regress_security_evil.late);
SELECT audit.attach('typed');
INSERT INTO typed VALUES (1, '(1)', 'q', '{q}', '{"(1)"}', '(1)', '(1)');
SET ROLE regress_security_app;
ALTER TYPE regress_security_evil.c ADD ATTRIBUTE b regress_security_evil.x;
RESET ROLE;
INSERT INTO typed VALUES (2, '(2,q)', 'q', '{q}', '{"(2,q)"}', '(2,q)', '(2)');
SET ROLE regress_security_app;
CREATE CAST (regress_security_evil.late AS json) WITH FUNCTION regress_security_evil.to_json(regress_security_evil.late);
RESET ROLE;
INSERT INTO typed VALUES (3, '(3,q)', 'q', '{q}', '{"(3,q)"}', '(3,q)', '(3)');
UPDATE typed SET id = 4 WHERE id = 3;
SELECT op, key, new - 'id' AS new FROM look() WHERE op IN ('insert', 'update');
DROP TABLE typed;

-- case 1: the check of a domain that is an ordinary role's
SET ROLE regress_security_app;
CREATE FUNCTION regress_security_evil.checked(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'regress_security_app' THEN PERFORM regress_security.ran('domain check'); END IF;
    RETURN true;
END
$$;
CREATE DOMAIN regress_security_evil.checked AS int CHECK (regress_security_evil.checked(value));
RESET ROLE;
CREATE TABLE domained (id regress_security_evil.checked PRIMARY KEY);
GRANT INSERT, SELECT, UPDATE ON domained TO regress_security_app;
SELECT audit.attach('domained');
SET ROLE regress_security_app;
INSERT INTO regress_security.domained VALUES (1);
RESET ROLE;
SELECT audit.detach('domained', 'for a baseline');
SELECT audit.attach('domained', baseline => true);
DELETE FROM domained;
SELECT op, key FROM look() WHERE op IN ('insert', 'snapshot', 'delete');

-- case 5: what changes or reveals needs ownership, and EXECUTE, which is not PUBLIC's
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'audit'::regnamespace AND has_function_privilege('regress_security_app', p.oid, 'EXECUTE') ORDER BY p.proname;
SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'audit'::regnamespace AND a.grantee = 0 ORDER BY 1, 2;
SELECT has_schema_privilege('regress_security_app', 'audit', 'CREATE') AS can_create;
\set VERBOSITY terse
SET ROLE regress_security_app;
SELECT audit.attach('regress_security.t');
SELECT audit.detach('regress_security.t', 'x');
SELECT audit.attach_schema('regress_security');
SELECT audit.detach_schema('regress_security', 'x');
SELECT audit.maintain();
SELECT * FROM audit.status();
SELECT audit.trigger_health('regress_security.t');
SELECT audit.grant_access('regress_security_app', 'admin');
SELECT count(*) FROM audit.attachments;
SELECT count(*) FROM audit.audit_events;
RESET ROLE;
-- EXECUTE without ownership
SELECT audit.grant_access('regress_security_app', 'admin');
SET ROLE regress_security_app;
SELECT audit.attach('regress_security.t');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('regress_security.t', mask => '{}', baseline => true);
SELECT audit.detach('regress_security.t', 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('regress_security');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach_schema('regress_security', 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.grant_access('regress_security_app', 'admin');
-- with ownership
CREATE TABLE regress_security_evil.mine (id int PRIMARY KEY);
SELECT audit.attach('regress_security_evil.mine');
INSERT INTO regress_security_evil.mine VALUES (1);
SELECT audit.detach('regress_security_evil.mine', 'mine');
SELECT count(*) > 0 AS reads FROM audit.audit_events;
SELECT healthy FROM audit.attachments WHERE target = 'regress_security.t'::regclass;
SELECT count(*) > 0 AS reads FROM audit.status();
SELECT count(*) AS maintain FROM audit.maintain();
DELETE FROM audit.audit_events;
RESET ROLE;
\set VERBOSITY default
SELECT op, tab, key, action, effective_role FROM look() WHERE tab IN ('t', 'mine');
-- the owner of a table, without any right on audit, changes it as ever
SET ROLE regress_security_owner;
CREATE TABLE regress_security.owned (id int PRIMARY KEY, v text);
RESET ROLE;
SELECT audit.attach('owned');
SET ROLE regress_security_owner;
SET search_path = regress_security;
ALTER TABLE owned ADD COLUMN w text;
INSERT INTO owned VALUES (1, 'a', 'b');
ALTER TABLE owned DISABLE TRIGGER USER;
ALTER TABLE owned RENAME TO owned_2;
ALTER TABLE owned_2 ENABLE TRIGGER USER;
ALTER TABLE owned_2 ENABLE ALWAYS TRIGGER audit_insert;
DROP TRIGGER audit_delete ON owned_2;
SELECT audit.detach('owned_2', 'not mine to end');
INSERT INTO owned_2 VALUES (2, 'a', 'b');
DROP TABLE owned_2;
RESET ROLE;
SELECT op, tab, action, effective_role, command FROM look() WHERE op <> 'system';

-- case 3: the settings of an ordinary role divert nothing
GRANT SET ON PARAMETER session_replication_role TO regress_security_app;
SET ROLE regress_security_app;
SET session_replication_role = replica;
INSERT INTO regress_security.t (id) VALUES (30);
SET session_replication_role = local;
INSERT INTO regress_security.t (id) VALUES (31);
RESET session_replication_role;
SET default_table_access_method = heap;
SET row_security = off;
INSERT INTO regress_security.t (id) VALUES (32);
RESET ROLE;
RESET row_security;
RESET default_table_access_method;
REVOKE SET ON PARAMETER session_replication_role FROM regress_security_app;
SELECT op, key, effective_role FROM look();

-- case 6: session user and effective role
CREATE FUNCTION definer(id int) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = regress_security AS $$ INSERT INTO t (id) VALUES (id) $$;
ALTER FUNCTION definer OWNER TO regress_security_owner;
GRANT INSERT, SELECT ON t TO regress_security_owner;
GRANT EXECUTE ON FUNCTION definer TO regress_security_app;
SET ROLE regress_security_app;
INSERT INTO regress_security.t (id) VALUES (40);
SELECT regress_security.definer(41);
RESET ROLE;
SET SESSION AUTHORIZATION regress_security_app;
INSERT INTO regress_security.t (id) VALUES (42);
SELECT regress_security.definer(43);
RESET SESSION AUTHORIZATION;
SELECT key, CASE session_user_name WHEN session_user THEN 'the session''s' ELSE session_user_name END AS session_user_name, effective_role FROM look();

-- case 7: row-level security hides nothing from capture
CREATE TABLE guarded (id int PRIMARY KEY, who text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON guarded TO regress_security_app USING (who = 'me') WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON guarded TO regress_security_app;
ALTER TABLE guarded OWNER TO regress_security_owner;
INSERT INTO guarded VALUES (0, 'before');
GRANT regress_security_owner TO regress_security_app;
SET ROLE regress_security_app;
-- the owner, under FORCE, sees no row; the baseline has them all
SELECT audit.attach('regress_security.guarded', baseline => true, on_truncate => 'rows');
INSERT INTO regress_security.guarded VALUES (1, 'you'), (2, 'me');
UPDATE regress_security.guarded SET who = 'you';
DELETE FROM regress_security.guarded;
RESET ROLE;
SET ROLE regress_security_owner;
TRUNCATE regress_security.guarded;
RESET ROLE;
SELECT op, key, old, new FROM look() WHERE op <> 'system';
SELECT * FROM replay_mismatches('guarded');
-- and the log is read by whom it is granted to, nobody else
REVOKE regress_security_owner FROM regress_security_app;
SET ROLE regress_security_owner;
SELECT count(*) FROM audit.audit_events;
RESET ROLE;

DROP SCHEMA regress_security CASCADE;
DROP SCHEMA regress_security_evil CASCADE;
DROP OWNED BY regress_security_app, regress_security_owner;
DROP ROLE regress_security_app, regress_security_owner;
