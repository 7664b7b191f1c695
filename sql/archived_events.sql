-- Archives that were brought back for reading: attest restore-archive. A table of its own: the log's functions do not read it,
-- and no row of it can become one of the log's (its columns are others, which ATTACH PARTITION refuses).
-- Like the log's own, the parent has no index, or pg_restore would make those of its partitions twice.
CREATE TABLE audit.archived_events (
    LIKE audit.audit_events INCLUDING COMMENTS,
    epoch      integer NOT NULL,
    leaf_index bigint  NOT NULL,
    archive    text    NOT NULL
) PARTITION BY LIST (archive);
COMMENT ON TABLE audit.archived_events IS 'Events of restored archives, for reading; no part of the log. attest restore-archive loads and drops them';
COMMENT ON COLUMN audit.archived_events.epoch IS 'The epoch whose tree has the event''s leaf';
COMMENT ON COLUMN audit.archived_events.leaf_index IS 'The leaf''s index in it';
COMMENT ON COLUMN audit.archived_events.archive IS 'Name of the restored archive';

CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE ON audit.archived_events FOR EACH ROW EXECUTE FUNCTION audit.guard();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.archived_events FOR EACH STATEMENT EXECUTE FUNCTION audit.guard();
ALTER TABLE audit.archived_events ENABLE ALWAYS TRIGGER refuse_write, ENABLE ALWAYS TRIGGER refuse_truncate;

CREATE FUNCTION audit.archived_table(archive text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF archive !~ '^[a-z0-9_-]{1,50}$' THEN
        RAISE EXCEPTION 'an archive cannot be called "%"', archive
            USING ERRCODE = 'invalid_name', DETAIL = 'It gives a table its name.',
                  HINT = 'Up to 50 lower-case letters, digits, _ and - make one.';
    END IF;
    RETURN 'archived_' || archive;
END
$$;
COMMENT ON FUNCTION audit.archived_table IS 'The table in schema audit that has a restored archive''s events';

CREATE FUNCTION audit.begin_archived(archive text, manifest_sha256 text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name  CONSTANT text := audit.archived_table(archive);
    said  CONSTANT text := format('Archive %s, manifest SHA-256 %s', archive, manifest_sha256);
    there CONSTANT regclass := to_regclass(format('audit.%I', name));
BEGIN
    IF there IS NOT NULL THEN
        IF obj_description(there, 'pg_class') IS NOT DISTINCT FROM said THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'another archive is restored as "%"', archive
            USING ERRCODE = 'duplicate_table',
                  DETAIL = coalesce(obj_description(there, 'pg_class'), format('There is a table audit.%I.', name)),
                  HINT = format('SELECT audit.drop_archived(%L) removes it; attest restore-archive --as takes another name.', archive);
    END IF;
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.archived_events INCLUDING ALL) USING heap', name);
    EXECUTE format('ALTER TABLE audit.%I ALTER archive SET DEFAULT %L', name, archive);
    EXECUTE format('COMMENT ON TABLE audit.%I IS %L', name, said);
    RETURN format('audit.%I', name);
END
$$;
COMMENT ON FUNCTION audit.begin_archived IS 'Makes the table that attest restore-archive loads; NULL where this very archive is there already';

CREATE FUNCTION audit.finish_archived(archive text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name CONSTANT text := audit.archived_table(archive);
    own_index text;
BEGIN
    EXECUTE format('ALTER TABLE audit.%I ADD PRIMARY KEY (event_id)', name);
    -- What is asked of the log is asked of it, too: by the same indexes.
    FOR own_index IN
        SELECT substring(pg_get_indexdef(indexrelid) FROM ' USING .*$') FROM pg_index
        WHERE indrelid = 'audit.audit_events_default'::regclass AND NOT indisprimary ORDER BY indexrelid
    LOOP
        EXECUTE format('CREATE INDEX ON audit.%I', name) || own_index;
    END LOOP;
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.guard()', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER refuse_truncate', name);
    EXECUTE format('ALTER TABLE audit.archived_events ATTACH PARTITION audit.%I FOR VALUES IN (%L)', name, archive);
    EXECUTE format('ANALYZE audit.%I', name);
END
$$;
COMMENT ON FUNCTION audit.finish_archived IS 'Makes a loaded table part of audit.archived_events: from then on it is read-only';

CREATE FUNCTION audit.drop_archived(archive text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name CONSTANT text := audit.archived_table(archive);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits
                   WHERE inhparent = 'audit.archived_events'::regclass AND inhrelid = to_regclass(format('audit.%I', name))) THEN
        RAISE EXCEPTION 'no archive "%" is restored', archive
            USING ERRCODE = 'undefined_table', DETAIL = 'audit.archived_events has no events of it.',
                  HINT = '\d+ audit.archived_events lists those that are.';
    END IF;
    EXECUTE format('DROP TABLE audit.%I', name);
END
$$;
COMMENT ON FUNCTION audit.drop_archived IS 'Removes a restored archive from audit.archived_events; the archive itself stays where it is';
