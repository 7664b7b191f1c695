-- Processes: who causes whom. A process is two events, its start and its end, in the context of its parent (src/process.rs).
CREATE FUNCTION audit.begin_process(
    name text,
    request_id text DEFAULT NULL,
    parent_process_id text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    process_id text DEFAULT NULL,
    is_local boolean DEFAULT true)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'begin_process_wrapper';
COMMENT ON FUNCTION audit.begin_process IS 'Records that a process starts, puts it and its request in force (until the transaction ends, unless is_local is false) and returns its id: process_id, else a UUIDv7. Without request_id the request in force, else the parent''s, else a UUIDv7; without parent_process_id the process in force ('''' for none)';

CREATE FUNCTION audit.end_process(
    process_id text DEFAULT NULL,
    status text DEFAULT 'done',
    metadata jsonb DEFAULT NULL,
    is_local boolean DEFAULT true)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'end_process_wrapper';
COMMENT ON FUNCTION audit.end_process IS 'Records that a process ends, by default the one in force; what was in force before it began, its parent as a rule, then is again. Give is_local as to audit.begin_process';

CREATE VIEW audit.processes AS
SELECT s.entity_id AS process_id,
       s.entity_name AS name,
       s.process_id AS parent_process_id,
       s.request_id,
       coalesce(s.app_user_id, s.session_user_name) AS actor,
       s.captured_at AS started_at,
       e.captured_at AS ended_at,
       e.captured_at - s.captured_at AS duration,
       coalesce(e.context #>> '{process,status}', 'running') AS status,
       coalesce(s.context #> '{process,metadata}', '{}') || coalesce(e.context #> '{process,metadata}', '{}') AS metadata
FROM audit.audit_events s
LEFT JOIN LATERAL (
    SELECT e.captured_at, e.context
    FROM audit.audit_events e
    WHERE e.entity_type = 'process' AND e.entity_id = s.entity_id AND e.operation = 'event' AND e.action = 'process ended'
    ORDER BY e.event_id
    LIMIT 1) e ON true
WHERE s.entity_type = 'process' AND s.entity_id IS NOT NULL AND s.operation = 'event' AND s.action = 'process started';
COMMENT ON VIEW audit.processes IS 'The processes that audit.begin_process started: a view over their events';
COMMENT ON COLUMN audit.processes.process_id IS 'Id of the process';
COMMENT ON COLUMN audit.processes.name IS 'Its name';
COMMENT ON COLUMN audit.processes.parent_process_id IS 'The process that started it; NULL for a root';
COMMENT ON COLUMN audit.processes.request_id IS 'The request it works for';
COMMENT ON COLUMN audit.processes.actor IS 'Who started it: the application''s user, else the session user';
COMMENT ON COLUMN audit.processes.started_at IS 'When it started';
COMMENT ON COLUMN audit.processes.ended_at IS 'When it ended; NULL while it runs';
COMMENT ON COLUMN audit.processes.duration IS 'How long it ran';
COMMENT ON COLUMN audit.processes.status IS 'What audit.end_process said; running while it runs';
COMMENT ON COLUMN audit.processes.metadata IS 'What was said of it when it started and when it ended';
