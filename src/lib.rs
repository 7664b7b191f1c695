//! pg_attest: an immutable, provable audit trail for PostgreSQL.

::pgrx::pg_module_magic!(name, version);
