-- Errors of users' statements pass through the extension's hooks whole: code, context, constraint, position.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
LOAD 'pg_attest';
CREATE SCHEMA regress_errors;
SET search_path = regress_errors;
CREATE PROCEDURE throws() LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'thrown' USING ERRCODE = 'ABCDE', COLUMN = 'c', HINT = 'h'; END $$;
CREATE TABLE parent (id integer CONSTRAINT parent_is_unique PRIMARY KEY);
CREATE TABLE child (id integer CONSTRAINT child_has_parent REFERENCES parent DEFERRABLE);
SELECT audit.attach('parent'), audit.attach('child');
CREATE FUNCTION after_parent() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id < 0 THEN CALL throws(); END IF; RETURN NULL; END $$;
CREATE TRIGGER after_parent AFTER INSERT ON parent FOR EACH ROW EXECUTE FUNCTION after_parent();

-- What a handler sees of a statement's error.
CREATE PROCEDURE told(statement text) LANGUAGE plpgsql AS $$
DECLARE
    code text; constr text; tab text; col text; hint text; context text;
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, constr = CONSTRAINT_NAME, tab = TABLE_NAME, col = COLUMN_NAME,
                            hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RAISE WARNING E'% % constraint "%" table "%" column "%" hint "%"\n%', code, SQLERRM, constr, tab, col, hint, context;
END $$;
CALL told('CALL throws()');
CALL told('DO $do$ BEGIN CALL throws(); END $do$');
CALL told('INSERT INTO parent VALUES (1), (1)');
CALL told('INSERT INTO child VALUES (9)');
CALL told('INSERT INTO parent VALUES (-1)');
CALL told('CREATE TABLE parent (a integer)');
\set SHOW_CONTEXT always
COPY parent FROM stdin;
7
7
\.
BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO child VALUES (10); COMMIT;
\echo :LAST_ERROR_SQLSTATE
SELECT nothing;
DROP SCHEMA regress_errors CASCADE;
