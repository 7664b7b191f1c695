-- A plain audit trigger in PL/pgSQL, row by row, as one writes it by hand: no look-up, no dynamic SQL, one index.
CREATE SCHEMA plain;
CREATE TABLE plain.events (
    event_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at  timestamptz NOT NULL DEFAULT now(),
    xact_id      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    table_oid    oid         NOT NULL,
    operation    text        NOT NULL,
    user_name    text        NOT NULL DEFAULT session_user,
    app_user_id  text                 DEFAULT current_setting('audit.app_user_id', true),
    request_id   text                 DEFAULT current_setting('audit.request_id', true),
    old_values   jsonb,
    new_values   jsonb
);

CREATE FUNCTION plain.capture() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO plain.events (table_oid, operation, new_values) VALUES (TG_RELID, TG_OP, to_jsonb(NEW));
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO plain.events (table_oid, operation, old_values, new_values) VALUES (TG_RELID, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
    ELSE
        INSERT INTO plain.events (table_oid, operation, old_values) VALUES (TG_RELID, TG_OP, to_jsonb(OLD));
    END IF;
    RETURN NULL;
END
$$;

SELECT format('CREATE TRIGGER plain_audit AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION plain.capture()', target)
FROM unnest(string_to_array(:'tables', ',')) AS target \gexec
