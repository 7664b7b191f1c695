-- A plain audit trigger in PL/pgSQL with transition tables: one INSERT … SELECT a statement, one index.
-- Old and new rows are paired by their position: transition tables hold them in the same order.
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
        INSERT INTO plain.events (table_oid, operation, new_values) SELECT TG_RELID, TG_OP, to_jsonb(n) FROM new_rows AS n;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO plain.events (table_oid, operation, old_values, new_values)
        SELECT TG_RELID, TG_OP, o.image, n.image
        FROM (SELECT row_number() OVER () AS position, to_jsonb(r) AS image FROM old_rows AS r) AS o
        JOIN (SELECT row_number() OVER () AS position, to_jsonb(r) AS image FROM new_rows AS r) AS n USING (position);
    ELSE
        INSERT INTO plain.events (table_oid, operation, old_values) SELECT TG_RELID, TG_OP, to_jsonb(o) FROM old_rows AS o;
    END IF;
    RETURN NULL;
END
$$;

SELECT format('CREATE TRIGGER plain_audit_%s AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION plain.capture()',
              lower(operation), operation, target, transition)
FROM unnest(string_to_array(:'tables', ',')) AS target,
     (VALUES ('INSERT', 'NEW TABLE AS new_rows'),
             ('UPDATE', 'OLD TABLE AS old_rows NEW TABLE AS new_rows'),
             ('DELETE', 'OLD TABLE AS old_rows')) AS trigger (operation, transition) \gexec
