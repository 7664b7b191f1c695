-- Which tables are audited, and how.
CREATE FUNCTION audit.attach_with(target regclass, settings jsonb, baseline boolean) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'attach_with_wrapper';
COMMENT ON FUNCTION audit.attach_with IS 'What audit.attach calls, with its settings as one JSON object';

CREATE FUNCTION audit.attach(
    target regclass,
    capture text DEFAULT 'full',
    operations text[] DEFAULT '{insert,update,delete,truncate}',
    exclude name[] DEFAULT '{}',
    mask name[] DEFAULT NULL,
    key_columns name[] DEFAULT NULL,
    require text[] DEFAULT '{}',
    on_truncate text DEFAULT 'record',
    baseline boolean DEFAULT false,
    skip_unchanged boolean DEFAULT true,
    request_column name DEFAULT NULL,
    process_column name DEFAULT NULL)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit.attach_with(target, pg_catalog.jsonb_build_object(
        'capture', capture, 'operations', operations, 'exclude', exclude, 'mask', mask, 'key_columns', key_columns,
        'require', require, 'on_truncate', on_truncate, 'skip_unchanged', skip_unchanged,
        'request_column', request_column, 'process_column', process_column), baseline)
$$;
COMMENT ON FUNCTION audit.attach IS 'Makes a table audited: every change of it becomes an event. request_column and process_column name columns of the row that have an event''s ids where the context has none. Needs ownership of the table. Again with other settings: changes them; with the same: repairs its triggers';

CREATE FUNCTION audit.detach(target regclass, reason text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'detach_wrapper';
COMMENT ON FUNCTION audit.detach IS 'Ends the audit of a table; its events stay. Needs ownership of the table and a reason, which is recorded';

CREATE FUNCTION audit.attach_schema_with(schema_name name, settings jsonb, baseline boolean) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'attach_schema_with_wrapper';
COMMENT ON FUNCTION audit.attach_schema_with IS 'What audit.attach_schema calls, with its settings as one JSON object';

CREATE FUNCTION audit.attach_schema(
    schema_name name,
    capture text DEFAULT 'full',
    operations text[] DEFAULT '{insert,update,delete,truncate}',
    exclude name[] DEFAULT '{}',
    mask name[] DEFAULT NULL,
    require text[] DEFAULT '{}',
    on_truncate text DEFAULT 'record',
    baseline boolean DEFAULT false,
    skip_unchanged boolean DEFAULT true,
    request_column name DEFAULT NULL,
    process_column name DEFAULT NULL)
RETURNS void LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit.attach_schema_with(schema_name, pg_catalog.jsonb_build_object(
        'capture', capture, 'operations', operations, 'exclude', exclude, 'mask', mask, 'key_columns', NULL,
        'require', require, 'on_truncate', on_truncate, 'skip_unchanged', skip_unchanged,
        'request_column', request_column, 'process_column', process_column), baseline)
$$;
COMMENT ON FUNCTION audit.attach_schema IS 'Makes all tables of a schema audited, those to come included. Columns in exclude and mask, request_column and process_column count where a table has them. Needs ownership of the schema and of its tables';

CREATE FUNCTION audit.detach_schema(schema_name name, reason text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'detach_schema_wrapper';
COMMENT ON FUNCTION audit.detach_schema IS 'Ends the audit of a schema: of each of its attached tables, and of those to come';

CREATE FUNCTION audit.maintain() RETURNS TABLE (task text, done bigint)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'maintain_wrapper';
COMMENT ON FUNCTION audit.maintain() IS 'Upkeep of the log: makes the months ahead, moves events out of the default partition';

CREATE FUNCTION audit.trigger_health(target regclass) RETURNS TABLE (relation regclass, missing text[], disabled text[], unknown_columns text[])
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'trigger_health_wrapper';
COMMENT ON FUNCTION audit.trigger_health IS 'The triggers of an attached table and its partitions that are missing, altered or disabled, and names in its settings that it has no column of; no row when all is well';

CREATE VIEW audit.attachments AS
SELECT a.relation AS target,
       n.nspname AS schema_name,
       c.relname AS table_name,
       a.settings ->> 'capture' AS capture,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.settings -> 'operations')) AS operations,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.settings -> 'exclude')) AS exclude,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.settings -> 'mask')) AS mask,
       CASE WHEN pg_catalog.jsonb_typeof(a.settings -> 'key_columns') = 'array'
            THEN ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.settings -> 'key_columns')) END AS key_columns,
       ARRAY(SELECT pg_catalog.jsonb_array_elements_text(a.settings -> 'require')) AS require,
       a.settings ->> 'on_truncate' AS on_truncate,
       (a.settings ->> 'skip_unchanged')::boolean AS skip_unchanged,
       a.settings ->> 'request_column' AS request_column,
       a.settings ->> 'process_column' AS process_column,
       a.attached_at,
       a.attached_by,
       h.healthy,
       h.problems
FROM audit.attachment a
JOIN pg_catalog.pg_class c ON c.oid = a.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) = 0 AS healthy,
           pg_catalog.string_agg(h.relation::text
               || CASE WHEN h.missing <> '{}' THEN ': missing ' || pg_catalog.array_to_string(h.missing, ', ') ELSE '' END
               || CASE WHEN h.disabled <> '{}' THEN ': disabled ' || pg_catalog.array_to_string(h.disabled, ', ') ELSE '' END
               || CASE WHEN h.unknown_columns <> '{}' THEN ': no column ' || pg_catalog.array_to_string(h.unknown_columns, ', ') ELSE '' END, '; ') AS problems
    FROM audit.trigger_health(a.relation) h) h;
COMMENT ON VIEW audit.attachments IS 'The attached tables: their settings, and whether their triggers are as they should be';
COMMENT ON COLUMN audit.attachments.target IS 'The attached table';
COMMENT ON COLUMN audit.attachments.schema_name IS 'Its schema';
COMMENT ON COLUMN audit.attachments.table_name IS 'Its name';
COMMENT ON COLUMN audit.attachments.capture IS 'What an UPDATE keeps: full, both rows; diff, the changed columns';
COMMENT ON COLUMN audit.attachments.operations IS 'Which operations are recorded';
COMMENT ON COLUMN audit.attachments.exclude IS 'Columns that are left out';
COMMENT ON COLUMN audit.attachments.mask IS 'Columns whose values are not kept';
COMMENT ON COLUMN audit.attachments.key_columns IS 'What row_key is made of; NULL: the primary key, else the replica identity';
COMMENT ON COLUMN audit.attachments.require IS 'What the context must have before a change is let through';
COMMENT ON COLUMN audit.attachments.on_truncate IS 'What TRUNCATE does: record, one event; rows, an event for each row; forbid';
COMMENT ON COLUMN audit.attachments.skip_unchanged IS 'Whether an UPDATE that changes no recorded column makes no event';
COMMENT ON COLUMN audit.attachments.request_column IS 'The column that has the request id where the context has none';
COMMENT ON COLUMN audit.attachments.process_column IS 'The column that has the process id where the context has none';
COMMENT ON COLUMN audit.attachments.attached_at IS 'When it was attached first';
COMMENT ON COLUMN audit.attachments.attached_by IS 'By which session user';
COMMENT ON COLUMN audit.attachments.healthy IS 'Whether its triggers are there and enabled';
COMMENT ON COLUMN audit.attachments.problems IS 'What is wrong with them; NULL: nothing';

-- DDL on attached tables is recorded and followed.
CREATE FUNCTION audit.on_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_ddl';
COMMENT ON FUNCTION audit.on_ddl() IS 'Event trigger: records DDL on attached tables, gives new partitions and tables their triggers';
CREATE EVENT TRIGGER audit_ddl_command_start ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED', 'DROP TABLE', 'DROP SCHEMA') EXECUTE FUNCTION audit.on_ddl();
CREATE EVENT TRIGGER audit_ddl_command_end ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA', 'CREATE TRIGGER', 'CREATE FOREIGN TABLE',
                 'IMPORT FOREIGN SCHEMA', 'ALTER TABLE', 'ALTER INDEX', 'ALTER TRIGGER', 'ALTER FOREIGN TABLE', 'ALTER SCHEMA', 'ALTER TYPE')
    EXECUTE FUNCTION audit.on_ddl();
CREATE EVENT TRIGGER audit_sql_drop ON sql_drop EXECUTE FUNCTION audit.on_ddl();
ALTER EVENT TRIGGER audit_ddl_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER audit_ddl_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER audit_sql_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER audit_ddl_command_start IS 'Loads pg_attest before the log may be dropped, so that it can refuse';
COMMENT ON EVENT TRIGGER audit_ddl_command_end IS 'Records and follows DDL on attached tables';
COMMENT ON EVENT TRIGGER audit_sql_drop IS 'Records what is dropped of attached tables';
