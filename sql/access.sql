-- Who may do what. Nothing is PUBLIC's but setting context.
REVOKE ALL ON ALL ROUTINES IN SCHEMA audit FROM PUBLIC;
GRANT USAGE ON SCHEMA audit TO PUBLIC;
GRANT EXECUTE ON FUNCTION audit.set_context, audit.context() TO PUBLIC;

CREATE FUNCTION audit.grant_access(role_name name, access text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grants CONSTANT text[] := CASE access
        WHEN 'reader' THEN ARRAY[
            'GRANT SELECT ON audit.audit_events, audit.attachments, audit.attachment, audit.attached_schema TO %I',
            'GRANT SELECT ON audit.audit_events_default TO %I',
            'GRANT SELECT ON audit.archived_events TO %I',
            'GRANT SELECT ON audit.epochs, audit.checkpoints, audit.tiles, audit.tree_edge, audit.checkpoint_signatures, audit.checkpoint_timestamps TO %I',
            'GRANT SELECT ON audit.activity, audit.sign_offs, audit.record_version, audit.logged_actions TO %I',
            'GRANT EXECUTE ON FUNCTION audit.recent_activity, audit.report_changes, audit.report_reasons, audit.report_privileged, audit.report_ddl, audit.report_access_health, audit.check_period TO %I',
            'GRANT SELECT ON audit.event_ranges, audit.range_values, audit.range_texts TO %I',
            'GRANT EXECUTE ON FUNCTION audit.events, audit.count_events, audit.event_filters, audit.event_conditions, audit.event_values, audit.leading_filter, audit.next_ranges, audit.search_trigrams, audit.has_trigrams, audit.events_between, audit.events_having, audit.ids_condition TO %I',
            'GRANT SELECT ON audit.retention_policies, audit.holds, audit.archives, audit.log_partitions, audit.months_to_archive, audit.cleanups, audit.upkeep_failures TO %I',
            'GRANT SELECT ON audit.installation, audit.holds_in_force TO %I',
            'GRANT EXECUTE ON FUNCTION audit.table_now, audit.oid_floor, audit.month_bounds, audit.retention_report(), audit.partition_rows, audit.retention_groups, audit.group_counting, audit.hold_covers(), audit.row_keys, audit.table_oids TO %I',
            'GRANT EXECUTE ON FUNCTION audit.status(), audit.trigger_health(regclass), audit.unsealed(), audit.sealer_state() TO %I',
            'GRANT SELECT ON audit.processes TO %I',
            'GRANT EXECUTE ON FUNCTION audit.table_eras, audit.earlier_oid, audit.present_image, audit.key_events, audit.segment_beside, audit.row_events, audit.changes_of, audit.history, audit.blame TO %I',
            'GRANT EXECUTE ON FUNCTION audit.open_transactions, audit.known_since, audit.merge_images, audit.rows_query, audit.rows_at, audit.input_image, audit.hstore_columns, audit.as_of TO %I',
            'GRANT EXECUTE ON FUNCTION audit.process_path, audit.process_tree, audit.lineage, audit.row_lineage, audit.mermaid_text, audit.lineage_graph TO %I',
            'GRANT EXECUTE ON FUNCTION audit.net_query, audit.difference, audit.changes_between, audit.key_columns, audit.revert_condition, audit.revert_row, audit.revert_steps, audit.revert TO %I',
            'GRANT EXECUTE ON FUNCTION audit.event_row, audit.event_leaf, audit.find_leaf, audit.tile, audit.leaves, audit.checkpoint_body, audit.checkpoint_note, audit.inclusion_proof, audit.consistency_proof, audit.verify, audit.verify_chain, audit.verify_event TO %I',
            'GRANT EXECUTE ON FUNCTION audit.metrics, audit.line_protocol_name, audit.line_protocol, audit.metrics_line_protocol, audit.gauges, audit.openmetrics TO %I']
        WHEN 'witness' THEN ARRAY[
            'GRANT SELECT ON audit.epochs, audit.checkpoints, audit.tiles, audit.tree_edge, audit.checkpoint_signatures, audit.checkpoint_timestamps TO %I',
            'GRANT EXECUTE ON FUNCTION audit.tile, audit.checkpoint_body, audit.checkpoint_note, audit.consistency_proof, audit.add_signature, audit.add_timestamp TO %I']
        WHEN 'writer' THEN ARRAY[
            'GRANT EXECUTE ON FUNCTION audit.set_context, audit.context(), audit.begin_process, audit.end_process TO %I',
            'GRANT EXECUTE ON FUNCTION audit.log_event, audit.log_request TO %I',
            'GRANT SELECT ON audit.my_activity TO %I',
            'GRANT EXECUTE ON FUNCTION audit.my_events TO %I']
        WHEN 'reviewer' THEN ARRAY[
            'GRANT EXECUTE ON FUNCTION audit.sign_off, audit.sign_off_with TO %I']
        WHEN 'admin' THEN ARRAY[
            'GRANT EXECUTE ON FUNCTION audit.attach, audit.attach_with, audit.detach, audit.attach_schema, audit.attach_schema_with, audit.detach_schema, audit.maintain(), audit.summarize_events, audit.seal() TO %I',
            'GRANT EXECUTE ON FUNCTION audit.set_retention, audit.drop_retention, audit.hold, audit.hold_with, audit.period_text, audit.release_hold, audit.apply_retention, audit.prune_batch, audit.clear, audit.erase, audit.wipe_free_space, audit.record_archive, audit.attach_cleanup, audit.detach_cleanup TO %I',
            'GRANT EXECUTE ON PROCEDURE audit.prune TO %I']
    END;
    statement text;
BEGIN
    IF grants IS NULL THEN
        RAISE EXCEPTION 'unknown access "%"', access
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'Access is given by kind.', HINT = 'It is one of reader, writer, reviewer, witness, admin.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
        RAISE EXCEPTION 'role "%" does not exist', role_name
            USING ERRCODE = 'undefined_object', DETAIL = 'Access is given to one role at a time.', HINT = '\du lists the roles.';
    END IF;
    IF access IN ('admin', 'reviewer') THEN
        PERFORM audit.grant_access(role_name, 'reader');
    END IF;
    FOREACH statement IN ARRAY grants LOOP
        EXECUTE format(statement, role_name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit.grant_access IS 'Gives a role access: reader (the log, its state and what is told from it; reverting, as far as he may write the tables), writer (setting context, beginning and ending processes, writing application events, seeing one''s own), reviewer (reader, and signing off reviews), witness (the tree and its checkpoints without the events, and signing), admin (reader, and attaching tables it owns, retention, upkeep). For superusers';
REVOKE ALL ON FUNCTION audit.grant_access FROM PUBLIC;
