-- The schema, the log and the registry.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'pg_attest needs a database with encoding UTF8'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = pg_catalog.format('This database has encoding %s, in which JSON cannot hold every text.',
                                             pg_catalog.getdatabaseencoding()),
                  HINT = 'CREATE DATABASE … ENCODING ''UTF8'' TEMPLATE template0 makes one.';
    END IF;
END
$$;

-- A plain CREATE SCHEMA: a schema that somebody made under this name beforehand makes CREATE EXTENSION fail loudly.
CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'pg_attest: immutable, provable audit trail';

CREATE TYPE audit.operation AS ENUM
    ('insert', 'update', 'delete', 'truncate', 'snapshot', 'ddl', 'event', 'system');
COMMENT ON TYPE audit.operation IS 'What an event records: a row change, a truncation, a row found at attach (snapshot), a DDL command, an application event, an act of pg_attest itself';

-- A transaction takes a block of ids at a time: src/capture/event_id.rs.
CREATE SEQUENCE audit.audit_events_event_id_seq INCREMENT BY 64;
COMMENT ON SEQUENCE audit.audit_events_event_id_seq IS 'Event ids, the first of a block of 64 for one transaction: unique, not gapless';

-- Fixed-width columns first: nothing is lost to alignment. src/capture/event.rs fills them in this order.
-- Ids and names are compared byte by byte: their indexes cost writers less, and no library's update reorders them.
-- The parent has no index, or pg_restore would make those of its partitions twice; each partition has its own.
CREATE TABLE audit.audit_events (
    event_id          bigint           NOT NULL,
    occurred_at       timestamptz      NOT NULL,
    captured_at       timestamptz      NOT NULL,
    xact_id           xid8             NOT NULL,
    statement_id      integer          NOT NULL,
    backend_pid       integer          NOT NULL,
    table_oid         oid,
    operation         audit.operation  NOT NULL,
    salt              uuid,
    schema_name       text,
    table_name        text,
    row_key           text COLLATE "C",
    old_row_key       text COLLATE "C",
    old_values        jsonb,
    new_values        jsonb,
    changed_columns   text[],
    session_user_name text COLLATE "C" NOT NULL,
    effective_role    text             NOT NULL,
    app_user_id       text COLLATE "C",
    request_id        text COLLATE "C",
    process_id        text COLLATE "C",
    session_id        text COLLATE "C",
    tenant_id         text COLLATE "C",
    reason            text,
    application_name  text,
    client_addr       inet,
    action            text COLLATE "C",
    category          text COLLATE "C",
    severity          text COLLATE "C",
    entity_type       text COLLATE "C",
    entity_id         text COLLATE "C",
    entity_name       text,
    description       text,
    context           jsonb,
    payload_hash      bytea
) PARTITION BY RANGE (occurred_at);

COMMENT ON TABLE audit.audit_events IS 'The audit log: one row per event, append-only, partitioned by month (UTC)';
COMMENT ON COLUMN audit.audit_events.event_id IS 'Unique id of the event; ascending within a transaction, not gapless';
COMMENT ON COLUMN audit.audit_events.occurred_at IS 'Start of the transaction: equal to the application''s own now()';
COMMENT ON COLUMN audit.audit_events.captured_at IS 'Wall clock when the statement''s changes were captured; orders two transactions'' changes of one row';
COMMENT ON COLUMN audit.audit_events.xact_id IS 'Top-level transaction id, with its epoch';
COMMENT ON COLUMN audit.audit_events.statement_id IS 'Order of the statement within its transaction: PostgreSQL''s command id when it started';
COMMENT ON COLUMN audit.audit_events.backend_pid IS 'Process id of the server process';
COMMENT ON COLUMN audit.audit_events.table_oid IS 'The audited table; of a partition, its root';
COMMENT ON COLUMN audit.audit_events.operation IS 'What happened';
COMMENT ON COLUMN audit.audit_events.salt IS 'Random bytes that blind the payload''s commitment in the log; NULL once erased';
COMMENT ON COLUMN audit.audit_events.schema_name IS 'Schema of the audited table at that time';
COMMENT ON COLUMN audit.audit_events.table_name IS 'Name of the audited table at that time';
COMMENT ON COLUMN audit.audit_events.row_key IS 'The row''s key as text; several columns as a row literal; longer than 1,000 bytes: cut, with its SHA-256';
COMMENT ON COLUMN audit.audit_events.old_row_key IS 'The key before, where an UPDATE changed it';
COMMENT ON COLUMN audit.audit_events.old_values IS 'The row before (with capture => diff, an UPDATE''s changed columns)';
COMMENT ON COLUMN audit.audit_events.new_values IS 'The row after (with capture => diff, an UPDATE''s changed columns)';
COMMENT ON COLUMN audit.audit_events.changed_columns IS 'UPDATE: the columns whose stored value changed, in the table''s order';
COMMENT ON COLUMN audit.audit_events.session_user_name IS 'session_user';
COMMENT ON COLUMN audit.audit_events.effective_role IS 'current_user: after SET ROLE, or inside a SECURITY DEFINER function';
COMMENT ON COLUMN audit.audit_events.app_user_id IS 'The application''s user, as audit.set_context said';
COMMENT ON COLUMN audit.audit_events.request_id IS 'The request that caused the change';
COMMENT ON COLUMN audit.audit_events.process_id IS 'The process of the request';
COMMENT ON COLUMN audit.audit_events.session_id IS 'The application''s session';
COMMENT ON COLUMN audit.audit_events.tenant_id IS 'The tenant';
COMMENT ON COLUMN audit.audit_events.reason IS 'Why';
COMMENT ON COLUMN audit.audit_events.application_name IS 'The connection''s application_name';
COMMENT ON COLUMN audit.audit_events.client_addr IS 'The client''s address; NULL for a local socket';
COMMENT ON COLUMN audit.audit_events.action IS 'ddl and system events: the command or act; application events: the action';
COMMENT ON COLUMN audit.audit_events.category IS 'Application events: the category';
COMMENT ON COLUMN audit.audit_events.severity IS 'Application events: the severity';
COMMENT ON COLUMN audit.audit_events.entity_type IS 'Application events: what kind of thing it is about';
COMMENT ON COLUMN audit.audit_events.entity_id IS 'Application events: which one';
COMMENT ON COLUMN audit.audit_events.entity_name IS 'Application events: its name';
COMMENT ON COLUMN audit.audit_events.description IS 'What happened, in words';
COMMENT ON COLUMN audit.audit_events.context IS 'Whatever else: the time zone where it is not UTC, audit.context, the DDL command';
COMMENT ON COLUMN audit.audit_events.payload_hash IS 'The payload''s commitment once it was erased';

-- The net: a write never fails for want of a partition.
CREATE TABLE audit.audit_events_default PARTITION OF audit.audit_events DEFAULT USING heap;
COMMENT ON TABLE audit.audit_events_default IS 'Events of months that have no partition; audit.maintain() moves them out';
ALTER TABLE audit.audit_events_default ADD PRIMARY KEY (event_id);
CREATE INDEX audit_events_default_row_idx ON audit.audit_events_default (table_oid, row_key);
CREATE INDEX audit_events_default_old_row_idx ON audit.audit_events_default (table_oid, old_row_key) WHERE old_row_key IS NOT NULL;
CREATE INDEX audit_events_default_request_idx ON audit.audit_events_default (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX audit_events_default_process_idx ON audit.audit_events_default (process_id) WHERE process_id IS NOT NULL;
CREATE INDEX audit_events_default_action_idx ON audit.audit_events_default (action) WHERE action IS NOT NULL;
CREATE INDEX audit_events_default_entity_idx ON audit.audit_events_default (entity_id, event_id) WHERE entity_id IS NOT NULL;

CREATE TABLE audit.attachment (
    relation    regclass    PRIMARY KEY,
    settings    jsonb       NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT now(),
    attached_by text        NOT NULL DEFAULT session_user
);
COMMENT ON TABLE audit.attachment IS 'Which tables are attached, and with which settings; written by audit.attach and audit.detach';
COMMENT ON COLUMN audit.attachment.relation IS 'The attached table';
COMMENT ON COLUMN audit.attachment.settings IS 'Its settings, as its triggers'' argument has them';
COMMENT ON COLUMN audit.attachment.attached_at IS 'When it was attached first';
COMMENT ON COLUMN audit.attachment.attached_by IS 'By which session user';

-- By name: pg_upgrade refuses columns of type regnamespace.
CREATE TABLE audit.attached_schema (
    schema      text        PRIMARY KEY,
    settings    jsonb       NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT now(),
    attached_by text        NOT NULL DEFAULT session_user
);
COMMENT ON TABLE audit.attached_schema IS 'Which schemas are attached: tables made there are attached at once';
COMMENT ON COLUMN audit.attached_schema.schema IS 'The attached schema';
COMMENT ON COLUMN audit.attached_schema.settings IS 'The settings that its tables get';
COMMENT ON COLUMN audit.attached_schema.attached_at IS 'When it was attached first';
COMMENT ON COLUMN audit.attached_schema.attached_by IS 'By which session user';

-- Their rows are the user's, not the extension's: pg_dump takes them along.
SELECT pg_catalog.pg_extension_config_dump('audit.audit_events_event_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('audit.audit_events_default', '');
SELECT pg_catalog.pg_extension_config_dump('audit.attachment', '');
SELECT pg_catalog.pg_extension_config_dump('audit.attached_schema', '');
