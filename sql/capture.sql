-- The trigger functions of attached tables, and the guards of the log.
CREATE FUNCTION audit.capture_order() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_capture_order';
COMMENT ON FUNCTION audit.capture_order() IS 'BEFORE STATEMENT trigger of attached tables: remembers the order of statements, checks what the table requires';
CREATE FUNCTION audit.capture_statement() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_capture_statement';
COMMENT ON FUNCTION audit.capture_statement() IS 'AFTER STATEMENT trigger of attached tables: records the rows of the statement';
CREATE FUNCTION audit.capture_row() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_capture_row';
COMMENT ON FUNCTION audit.capture_row() IS 'AFTER ROW trigger of attached tables, for logical-replication apply and inheritance trees: records one row';
CREATE FUNCTION audit.capture_truncate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_capture_truncate';
COMMENT ON FUNCTION audit.capture_truncate() IS 'BEFORE TRUNCATE trigger of attached tables: records or refuses it';
CREATE FUNCTION audit.guard() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'pg_attest_guard';
COMMENT ON FUNCTION audit.guard() IS 'Refuses every SQL write to the audit log, unless audit.restore is on';

-- Row triggers of the parent are cloned to every partition; TRUNCATE needs one on each.
CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE ON audit.audit_events
    FOR EACH ROW EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.audit_events ENABLE ALWAYS TRIGGER refuse_write;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.audit_events ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.audit_events_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.audit_events_default ENABLE ALWAYS TRIGGER refuse_truncate;
