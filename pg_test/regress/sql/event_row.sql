-- audit.event_row: an event's columns as a binary COPY has them, whatever is in them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
\set SHOW_CONTEXT never
BEGIN;
CREATE TEMPORARY TABLE events (LIKE audit.audit_events);
CREATE FUNCTION field(sent bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(int4send(length(sent)) || sent, '\xffffffff') $$;
CREATE VIEW packed AS
SELECT event_id, audit.event_row(event_id, occurred_at, captured_at, xact_id, statement_id, backend_pid, table_oid, operation,
           salt, schema_name, table_name, row_key, old_row_key, old_values, new_values, changed_columns, session_user_name, effective_role,
           app_user_id, request_id, process_id, session_id, tenant_id, reason, application_name, client_addr, action, category, severity,
           entity_type, entity_id, entity_name, description, context, payload_hash) AS made,
       '\x0023'
           || field(int8send(event_id)) || field(timestamptz_send(occurred_at)) || field(timestamptz_send(captured_at))
           || field(xid8send(xact_id)) || field(int4send(statement_id)) || field(int4send(backend_pid))
           || field(oidsend(table_oid)) || field(enum_send(operation)) || field(uuid_send(salt))
           || field(textsend(schema_name)) || field(textsend(table_name)) || field(textsend(row_key))
           || field(textsend(old_row_key)) || field(jsonb_send(old_values)) || field(jsonb_send(new_values))
           || field(array_send(changed_columns)) || field(textsend(session_user_name)) || field(textsend(effective_role))
           || field(textsend(app_user_id)) || field(textsend(request_id)) || field(textsend(process_id))
           || field(textsend(session_id)) || field(textsend(tenant_id)) || field(textsend(reason))
           || field(textsend(application_name)) || field(textsend(abbrev(client_addr))) || field(textsend(action))
           || field(textsend(category)) || field(textsend(severity)) || field(textsend(entity_type))
           || field(textsend(entity_id)) || field(textsend(entity_name)) || field(textsend(description))
           || field(jsonb_send(context)) || field(byteasend(payload_hash)) AS copied
FROM events;
ALTER TABLE events ALTER statement_id SET DEFAULT 7, ALTER backend_pid SET DEFAULT -1, ALTER session_user_name SET DEFAULT 'u',
    ALTER effective_role SET DEFAULT '', ALTER operation SET DEFAULT 'update', ALTER xact_id SET DEFAULT '18446744073709551615',
    ALTER occurred_at SET DEFAULT 'infinity', ALTER captured_at SET DEFAULT '2026-01-01 00:00:00.000001+00';
INSERT INTO events (event_id) VALUES (-9223372036854775808);
INSERT INTO events (event_id, operation) SELECT row_number() OVER (), operation FROM unnest(enum_range(NULL::audit.operation)) operation;
INSERT INTO events (event_id, salt, table_oid, payload_hash) VALUES (20, '01234567-89ab-cdef-0123-456789abcdef', 4294967295, sha256('x'));
INSERT INTO events (event_id, changed_columns)
SELECT 30 + n, list FROM unnest(ARRAY['{}', '{a}', '{NULL}', '{a,NULL,"ä b",""}']) WITH ORDINALITY AS t (text, n), CAST(text AS text[]) list;
INSERT INTO events (event_id, client_addr)
SELECT 40 + n, address FROM unnest('{10.1.2.3,10.1.2.3,10.1.0.0/16,::1,2001:db8::/32}'::inet[]) WITH ORDINALITY AS t (address, n);
INSERT INTO events (event_id, old_values, new_values, context)
SELECT 50 + n, json, jsonb_build_object('deep', json), jsonb_build_array(json, repeat('ä"\', 5000))
FROM unnest(ARRAY['null', 'true', '-0.00', '1e400', '""', '[]', '{}', '[[1], {"a": "\u0001\n\\"}, "ß"]', repeat('[', 100) || repeat(']', 100)]::jsonb[]) WITH ORDINALITY AS t (json, n);
INSERT INTO events (event_id, schema_name, table_name, row_key, old_row_key, app_user_id, request_id, process_id, session_id, tenant_id, reason,
    application_name, action, category, severity, entity_type, entity_id, entity_name, description)
VALUES (60, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', repeat('long ', 100000));
SELECT count(*) AS events, count(*) FILTER (WHERE made IS DISTINCT FROM copied) AS different FROM packed;

-- what no event has: a list that is none
SAVEPOINT before;
INSERT INTO events (event_id, changed_columns) VALUES (70, '{{a}}'), (71, '[0:0]={a}');
SELECT event_id, position('\x0000000c0000000200000000'::bytea IN made) > 0 AS "two dimensions" FROM packed WHERE event_id >= 70;
ROLLBACK TO before;

-- who may not read events does not get them by it
SELECT has_function_privilege('public', p.oid, 'EXECUTE') AS everybody FROM pg_proc p WHERE proname = 'event_row';
ROLLBACK;
