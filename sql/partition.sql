-- One month of audit.audit_events. Indexes are named by PostgreSQL: a month that was moved aside keeps its names. src/attach/partitions.rs fills in {name}, {from} and {to}.
CREATE TABLE audit.{name} (LIKE audit.audit_events INCLUDING ALL) USING heap;
ALTER TABLE audit.{name} ADD PRIMARY KEY (event_id);
CREATE INDEX ON audit.{name} (table_oid, row_key);
CREATE INDEX ON audit.{name} (table_oid, old_row_key) WHERE old_row_key IS NOT NULL;
CREATE INDEX ON audit.{name} (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX ON audit.{name} (process_id) WHERE process_id IS NOT NULL;
CREATE INDEX ON audit.{name} (action) WHERE action IS NOT NULL;
CREATE INDEX ON audit.{name} (entity_id, event_id) WHERE entity_id IS NOT NULL;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.{name} FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.{name} ENABLE ALWAYS TRIGGER refuse_truncate;
COMMENT ON TABLE audit.{name} IS 'Audit events from {from} to before {to} (UTC)';
ALTER TABLE audit.audit_events ATTACH PARTITION audit.{name} FOR VALUES FROM ('{from} 00:00:00+00') TO ('{to} 00:00:00+00');
