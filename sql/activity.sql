-- What applications tell.
CREATE FUNCTION audit.log_event(
    action text, description text DEFAULT NULL, entity_type text DEFAULT NULL, entity_id text DEFAULT NULL,
    entity_name text DEFAULT NULL, category text DEFAULT 'application', severity text DEFAULT 'info', metadata jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'log_event_wrapper';
COMMENT ON FUNCTION audit.log_event IS 'Records an event of the application; returns its event_id. Who acts is the context''s app_user_id, NULL for the system itself. Severity: debug, info, notice, warning, error, critical. Secrets in metadata are redacted (audit.redact_keys)';

CREATE FUNCTION audit.log_request(
    endpoint text, method text, status_code integer DEFAULT NULL, response_time_ms double precision DEFAULT NULL,
    success boolean DEFAULT NULL, error_message text DEFAULT NULL, provider text DEFAULT NULL, request_data jsonb DEFAULT NULL,
    user_agent text DEFAULT NULL, client_ip inet DEFAULT NULL, user_role text DEFAULT NULL,
    category text DEFAULT 'request', severity text DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'log_request_wrapper';
COMMENT ON FUNCTION audit.log_request IS 'Records a request that the application served, or with provider one that it sent to somebody''s API; returns its event_id. success NULL: no error message, and a status below 400. severity NULL: info, warning (4xx) or error. Error messages and user agents are cut at 500 characters';
