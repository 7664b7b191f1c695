-- The log: epochs, checkpoints, the tree's tiles, signatures. docs/log-format.md is normative for what they hold.
-- src/ledger writes them natively; no SQL does, but for restores.

-- Not for pg_dump: a restored log is another one.
CREATE TABLE audit.installation (id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid()) USING heap;
COMMENT ON TABLE audit.installation IS 'Tells this log from all copies that are restored from its dumps';
COMMENT ON COLUMN audit.installation.id IS 'Made by CREATE EXTENSION';
INSERT INTO audit.installation DEFAULT VALUES;

CREATE TABLE audit.epochs (
    epoch       integer     PRIMARY KEY,
    origin      text        NOT NULL,
    incarnation text        NOT NULL,
    started_at  timestamptz NOT NULL,
    event_id    bigint
) USING heap;
COMMENT ON TABLE audit.epochs IS 'The incarnations of this log: a restored, copied or upgraded database starts a new epoch, with a tree of its own';
COMMENT ON COLUMN audit.epochs.epoch IS 'Counts from 1';
COMMENT ON COLUMN audit.epochs.origin IS 'The first line of this epoch''s checkpoints: no two databases have the same';
COMMENT ON COLUMN audit.epochs.incarnation IS 'System identifier, timeline, database OID, audit.installation';
COMMENT ON COLUMN audit.epochs.started_at IS 'When its first seal was made';
COMMENT ON COLUMN audit.epochs.event_id IS 'Its first leaf: the system event that carries the last checkpoint of the epoch before; NULL for the first epoch';

CREATE TABLE audit.checkpoints (
    epoch         integer     NOT NULL,
    tree_size     bigint      NOT NULL,
    sealed_at     timestamptz NOT NULL,
    next_xid      xid8        NOT NULL,
    last_event_id bigint      NOT NULL,
    root          bytea       NOT NULL,
    chain         bytea       NOT NULL,
    snapshot      pg_snapshot NOT NULL,
    PRIMARY KEY (epoch, tree_size)
) USING heap;
COMMENT ON TABLE audit.checkpoints IS 'One row per seal; the last one is the sealer''s state';
COMMENT ON COLUMN audit.checkpoints.epoch IS 'The epoch';
COMMENT ON COLUMN audit.checkpoints.tree_size IS 'Leaves in the tree';
COMMENT ON COLUMN audit.checkpoints.sealed_at IS 'When the seal was made';
COMMENT ON COLUMN audit.checkpoints.next_xid IS 'Transactions from this id on have no event up to last_event_id';
COMMENT ON COLUMN audit.checkpoints.last_event_id IS 'No event id above it had been handed out when the seal began';
COMMENT ON COLUMN audit.checkpoints.root IS 'The tree''s root hash (RFC 6962)';
COMMENT ON COLUMN audit.checkpoints.chain IS 'Hash over the checkpoint before, the time, the horizon (last_event_id, next_xid, snapshot) and this checkpoint''s text';
COMMENT ON COLUMN audit.checkpoints.snapshot IS 'The transactions whose events are in the tree';

CREATE TABLE audit.tiles (
    epoch        integer NOT NULL,
    level        integer NOT NULL,
    tile_index   bigint  NOT NULL,
    min_event_id bigint,
    max_event_id bigint,
    root         bytea   NOT NULL,
    hashes       bytea   NOT NULL,
    event_ids    bigint[],
    PRIMARY KEY (epoch, level, tile_index)
) USING heap;
-- 8,192 bytes that do not compress.
ALTER TABLE audit.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE audit.tiles IS 'The full tiles of the tree (C2SP tlog-tiles)';
COMMENT ON COLUMN audit.tiles.epoch IS 'The epoch';
COMMENT ON COLUMN audit.tiles.level IS '0: leaf hashes; each hash of level n + 1 is the root of a tile of level n';
COMMENT ON COLUMN audit.tiles.tile_index IS 'Of level 0: leaves 256 * tile_index to 256 * tile_index + 255';
COMMENT ON COLUMN audit.tiles.min_event_id IS 'Level 0: its lowest event id';
COMMENT ON COLUMN audit.tiles.max_event_id IS 'Level 0: its highest event id';
COMMENT ON COLUMN audit.tiles.root IS 'The tile''s own root: its hash one level up';
COMMENT ON COLUMN audit.tiles.hashes IS '256 hashes of 32 bytes';
COMMENT ON COLUMN audit.tiles.event_ids IS 'Level 0: the leaves'' events, in leaf order';
-- From an event to its leaf.
CREATE INDEX tiles_event_ids_idx ON audit.tiles USING gist (int8range(min_event_id, max_event_id, '[]')) WHERE level = 0;

CREATE TABLE audit.tree_edge (
    epoch      integer  NOT NULL,
    first_leaf bigint   NOT NULL,
    hashes     bytea    NOT NULL,
    event_ids  bigint[] NOT NULL,
    PRIMARY KEY (epoch, first_leaf)
) USING heap;
COMMENT ON TABLE audit.tree_edge IS 'The leaves behind the last full tile: a row per seal, gone once its tile is full';
COMMENT ON COLUMN audit.tree_edge.epoch IS 'The epoch';
COMMENT ON COLUMN audit.tree_edge.first_leaf IS 'Index of the first leaf';
COMMENT ON COLUMN audit.tree_edge.hashes IS 'The leaves'' hashes, 32 bytes each';
COMMENT ON COLUMN audit.tree_edge.event_ids IS 'The leaves'' events, in leaf order';

CREATE TABLE audit.checkpoint_signatures (
    epoch     integer     NOT NULL,
    tree_size bigint      NOT NULL,
    line      text        NOT NULL,
    added_at  timestamptz NOT NULL,
    added_by  text        NOT NULL,
    PRIMARY KEY (epoch, tree_size, line)
) USING heap;
COMMENT ON TABLE audit.checkpoint_signatures IS 'Signatures of checkpoints: the server''s own, and those that witnesses gave';
COMMENT ON COLUMN audit.checkpoint_signatures.epoch IS 'The epoch';
COMMENT ON COLUMN audit.checkpoint_signatures.tree_size IS 'The checkpoint''s tree size';
COMMENT ON COLUMN audit.checkpoint_signatures.line IS 'A signature line of a C2SP signed note';
COMMENT ON COLUMN audit.checkpoint_signatures.added_at IS 'When it was stored';
COMMENT ON COLUMN audit.checkpoint_signatures.added_by IS 'By which session user';

CREATE TABLE audit.checkpoint_timestamps (
    epoch        integer     NOT NULL,
    tree_size    bigint      NOT NULL,
    token_sha256 bytea       NOT NULL,
    token        bytea       NOT NULL,
    added_at     timestamptz NOT NULL,
    added_by     text        NOT NULL,
    PRIMARY KEY (epoch, tree_size, token_sha256)
) USING heap;
COMMENT ON TABLE audit.checkpoint_timestamps IS 'RFC 3161 timestamps of checkpoints';
COMMENT ON COLUMN audit.checkpoint_timestamps.epoch IS 'The epoch';
COMMENT ON COLUMN audit.checkpoint_timestamps.tree_size IS 'The checkpoint''s tree size';
COMMENT ON COLUMN audit.checkpoint_timestamps.token_sha256 IS 'The token''s SHA-256: each token once';
COMMENT ON COLUMN audit.checkpoint_timestamps.token IS 'The answer of the timestamping authority (DER TimeStampResp)';
COMMENT ON COLUMN audit.checkpoint_timestamps.added_at IS 'When it was stored';
COMMENT ON COLUMN audit.checkpoint_timestamps.added_by IS 'By which session user';

-- Append-only, like the events; and pg_dump takes them along.
DO $$
DECLARE
    log_table text;
BEGIN
    FOREACH log_table IN ARRAY ARRAY['installation', 'epochs', 'checkpoints', 'tiles', 'tree_edge', 'checkpoint_signatures', 'checkpoint_timestamps'] LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE ON audit.%I FOR EACH ROW EXECUTE FUNCTION audit.guard()', log_table);
        EXECUTE pg_catalog.format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit.%I FOR EACH STATEMENT EXECUTE FUNCTION audit.guard()', log_table);
        EXECUTE pg_catalog.format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER refuse_write, ENABLE ALWAYS TRIGGER refuse_truncate', log_table);
        IF log_table OPERATOR(pg_catalog.<>) 'installation' THEN
            PERFORM pg_catalog.pg_extension_config_dump('audit.' OPERATOR(pg_catalog.||) log_table, '');
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION audit.seal() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'seal_wrapper';
COMMENT ON FUNCTION audit.seal() IS 'Gives the events committed since the last seal their places in the tree, and writes a checkpoint; returns how many they were';

CREATE FUNCTION audit.event_leaf(event_id bigint) RETURNS bytea
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'event_leaf_wrapper';
COMMENT ON FUNCTION audit.event_leaf IS 'The leaf data of an event, computed from its row (docs/log-format.md)';

CREATE FUNCTION audit.event_row(
    event_id bigint, occurred_at timestamptz, captured_at timestamptz, xact_id xid8, statement_id integer, backend_pid integer,
    table_oid oid, operation audit.operation, salt uuid, schema_name text, table_name text, row_key text, old_row_key text,
    old_values jsonb, new_values jsonb, changed_columns text[], session_user_name text, effective_role text, app_user_id text,
    request_id text, process_id text, session_id text, tenant_id text, reason text, application_name text, client_addr inet,
    action text, category text, severity text, entity_type text, entity_id text, entity_name text, description text,
    context jsonb, payload_hash bytea) RETURNS bytea
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'event_row_wrapper';
COMMENT ON FUNCTION audit.event_row IS 'An event''s columns in one value, as a binary COPY would have them: what attest reads the log by';

CREATE FUNCTION audit.find_leaf(event_id bigint) RETURNS TABLE (epoch integer, leaf_index bigint)
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'find_leaf_wrapper';
COMMENT ON FUNCTION audit.find_leaf IS 'Where an event stands in the tree; no row when it is not sealed';

CREATE FUNCTION audit.tile(level integer, tile_index bigint, tree_size bigint DEFAULT NULL, epoch integer DEFAULT NULL) RETURNS bytea
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'tile_wrapper';
COMMENT ON FUNCTION audit.tile IS 'A tile of the tree at this size, full or partial, as C2SP tlog-tiles serves it; NULL where the tree has none';

CREATE FUNCTION audit.leaves(first_leaf bigint, leaf_count bigint, epoch integer DEFAULT NULL)
RETURNS TABLE (leaf_index bigint, event_id bigint, leaf_hash bytea)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'leaves_wrapper';
COMMENT ON FUNCTION audit.leaves IS 'Leaves of the tree in order, with their events';

CREATE FUNCTION audit.checkpoint_body(tree_size bigint DEFAULT NULL, epoch integer DEFAULT NULL) RETURNS text
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'checkpoint_body_wrapper';
COMMENT ON FUNCTION audit.checkpoint_body IS 'The text of a checkpoint (C2SP tlog-checkpoint), without signatures: what is signed and timestamped';

CREATE FUNCTION audit.checkpoint_note(tree_size bigint DEFAULT NULL, epoch integer DEFAULT NULL) RETURNS text
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'checkpoint_note_wrapper';
COMMENT ON FUNCTION audit.checkpoint_note IS 'A checkpoint as a C2SP signed note, with all of its signatures';

CREATE FUNCTION audit.inclusion_proof(event_id bigint, tree_size bigint DEFAULT NULL) RETURNS text
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'inclusion_proof_wrapper';
COMMENT ON FUNCTION audit.inclusion_proof IS 'A proof that the event is in the tree, as C2SP tlog-proof: for whoever has the event and trusts the checkpoint''s signatures';

CREATE FUNCTION audit.consistency_proof(old_size bigint, new_size bigint, epoch integer DEFAULT NULL) RETURNS bytea[]
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'consistency_proof_wrapper';
COMMENT ON FUNCTION audit.consistency_proof IS 'The hashes that prove that the tree of the new size continues the one of the old size (RFC 6962)';

CREATE FUNCTION audit.add_signature(tree_size bigint, line text, epoch integer DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'add_signature_wrapper';
COMMENT ON FUNCTION audit.add_signature IS 'Stores a signature of a checkpoint, as a witness gives it; again is no error. A signature of a key in audit.trusted_keys must be right';

CREATE FUNCTION audit.add_timestamp(tree_size bigint, token bytea, epoch integer DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'add_timestamp_wrapper';
COMMENT ON FUNCTION audit.add_timestamp IS 'Stores an RFC 3161 timestamp of a checkpoint';

CREATE TYPE audit.verification AS
    (check_name text, ok boolean, checked bigint, event_id bigint, leaf_index bigint, detail text);
COMMENT ON TYPE audit.verification IS 'What verification says: a line per check, then one per finding, with the event and the leaf it is about';
COMMENT ON COLUMN audit.verification.check_name IS 'What was checked, or what was found';
COMMENT ON COLUMN audit.verification.ok IS 'Whether it is as it must be';
COMMENT ON COLUMN audit.verification.checked IS 'How many of them were checked';
COMMENT ON COLUMN audit.verification.event_id IS 'The event that a finding is about';
COMMENT ON COLUMN audit.verification.leaf_index IS 'Its leaf in the tree';
COMMENT ON COLUMN audit.verification.detail IS 'The particulars';

CREATE FUNCTION audit.verify(
    from_event bigint DEFAULT NULL,
    to_event bigint DEFAULT NULL,
    since_size bigint DEFAULT NULL,
    sample double precision DEFAULT NULL,
    workers integer DEFAULT NULL)
RETURNS SETOF audit.verification
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'verify_wrapper';
COMMENT ON FUNCTION audit.verify IS 'Recomputes the log from the stored events: every leaf from its row, every tile, root and signature. Of a range of event ids, of the leaves since a tree size, or of a sample alone: of so many (0 to 1) of the parts of 16,384 events that it is cut into; with so many parallel workers';

CREATE FUNCTION audit.verify_chain()
RETURNS SETOF audit.verification
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'verify_chain_wrapper';
COMMENT ON FUNCTION audit.verify_chain() IS 'Verifies tiles, checkpoints and signatures; of events, those that bind epochs to each other are read';

CREATE FUNCTION audit.verify_event(event_id bigint)
RETURNS SETOF audit.verification
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'verify_event_wrapper';
COMMENT ON FUNCTION audit.verify_event IS 'Verifies one event: its leaf from its row, and the proof from there to the last checkpoint';

CREATE FUNCTION audit.unsealed() RETURNS TABLE (events bigint, oldest timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'unsealed_wrapper';
COMMENT ON FUNCTION audit.unsealed() IS 'The exposure: committed events that stand in no tree yet, and when the first of them was captured';

CREATE FUNCTION audit.sealer_state() RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'sealer_state_wrapper';
COMMENT ON FUNCTION audit.sealer_state() IS 'Who seals: running (the background worker), stopped, or by hand (pg_attest is not in shared_preload_libraries)';
