-- What stands, verified, in archives outside the database.
CREATE VIEW audit.archives AS
SELECT a.context ->> 'uri' AS uri,
       a.context ->> 'partition' AS partition,
       (a.context ->> 'first_event_id')::bigint AS first_event_id,
       (a.context ->> 'last_event_id')::bigint AS last_event_id,
       (a.context -> 'leaves' -> 0 ->> 0)::integer AS epoch,
       (a.context ->> 'count')::bigint AS events,
       a.context -> 'leaves' AS leaves,
       pg_catalog.decode(a.context ->> 'root', 'base64') AS root,
       pg_catalog.decode(a.context ->> 'manifest_sha256', 'hex') AS manifest_sha256,
       (a.context ->> 'archived_at')::timestamptz AS archived_at,
       a.captured_at AS verified_at,
       a.session_user_name AS recorded_by,
       a.event_id
FROM audit.audit_events a
WHERE a.operation = 'system' AND a.action = 'archive';
COMMENT ON VIEW audit.archives IS 'What stands, verified by reading it back, in archives outside the database';
COMMENT ON COLUMN audit.archives.uri IS 'Where the archive is';
COMMENT ON COLUMN audit.archives.partition IS 'The partition that was archived';
COMMENT ON COLUMN audit.archives.first_event_id IS 'The lowest event id in it';
COMMENT ON COLUMN audit.archives.last_event_id IS 'The highest event id in it';
COMMENT ON COLUMN audit.archives.epoch IS 'The (first) epoch of its leaves';
COMMENT ON COLUMN audit.archives.events IS 'How many events it has';
COMMENT ON COLUMN audit.archives.leaves IS 'Their leaves: runs [epoch, first, last]';
COMMENT ON COLUMN audit.archives.root IS 'The root over their leaves'' hashes';
COMMENT ON COLUMN audit.archives.manifest_sha256 IS 'SHA-256 of the archive''s manifest';
COMMENT ON COLUMN audit.archives.archived_at IS 'When it was written';
COMMENT ON COLUMN audit.archives.verified_at IS 'When it was verified by reading it back, and recorded';
COMMENT ON COLUMN audit.archives.recorded_by IS 'By which session user';
COMMENT ON COLUMN audit.archives.event_id IS 'The event that records it';

CREATE FUNCTION audit.record_archive(uri text, manifest text) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'record_archive_wrapper';
COMMENT ON FUNCTION audit.record_archive IS 'Records an archive that was verified by reading it back: what attest archive calls last. manifest is the text of its manifest.json; what it says of this log is checked against the log: the partition and its bounds, the events, their leaves and the root over them, the checkpoints. Returns the event that records it';
