-- postgresql-audit in statement mode, from PyPI: :setup is the SQL that the package itself renders.
\i :setup
SELECT postgresql_audit.audit_table(target::regclass) FROM unnest(string_to_array(:'tables', ',')) AS target;
