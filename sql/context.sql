-- Who acts and why.
CREATE FUNCTION audit.set_context(
    request_id text DEFAULT NULL, process_id text DEFAULT NULL, app_user_id text DEFAULT NULL, reason text DEFAULT NULL,
    session_id text DEFAULT NULL, tenant_id text DEFAULT NULL, extra jsonb DEFAULT NULL, is_local boolean DEFAULT true)
RETURNS void LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'set_context_wrapper';
COMMENT ON FUNCTION audit.set_context IS 'Sets who acts and why for the events that follow: until the transaction ends (is_local, the default: right behind a pooler) or the session does. NULL leaves a value as it is, an empty string clears it';

CREATE FUNCTION audit.context() RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'context_wrapper';
COMMENT ON FUNCTION audit.context() IS 'The context now in force, as set by audit.set_context or SET audit.…';
