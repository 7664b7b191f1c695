-- case 28: what cannot be attached is refused, with SQLSTATE, the reason and what to do instead.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_refused;
SET search_path = regress_refused;
\set SHOW_CONTEXT never

CREATE TABLE plain (id int PRIMARY KEY, v text, password text);
CREATE UNLOGGED TABLE unlogged (i int);
CREATE VIEW a_view AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS one;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_type AS (i int);
CREATE TABLE root (i int) PARTITION BY RANGE (i);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE FOREIGN DATA WRAPPER regress_refused_wrapper;
CREATE SERVER regress_refused_server FOREIGN DATA WRAPPER regress_refused_wrapper;
CREATE FOREIGN TABLE a_foreign_table (i int) SERVER regress_refused_server;

-- case 28: system catalogs and the log itself
SELECT audit.attach('pg_class');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('information_schema.sql_features');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('audit.audit_events');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('audit.audit_events_default');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('audit.attachment');
\echo :LAST_ERROR_SQLSTATE

-- case 28: tables that do not last (the name of the temporary schema differs from session to session)
CREATE TEMPORARY TABLE a_temp (i int);
\set VERBOSITY sqlstate
SELECT audit.attach('a_temp');
\set VERBOSITY default
SELECT audit.attach('unlogged');
\echo :LAST_ERROR_SQLSTATE

-- case 28: what is no table, or not one of its own
SELECT audit.attach('a_view');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('a_matview');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('a_sequence');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('a_type');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain_pkey');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('leaf');
\echo :LAST_ERROR_SQLSTATE

-- case 28: foreign tables, by themselves or beneath a partitioned table, now or later
SELECT audit.attach('a_foreign_table');
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE foreign_leaf PARTITION OF root FOR VALUES FROM (10) TO (20) SERVER regress_refused_server;
SELECT audit.attach('root');
\echo :LAST_ERROR_SQLSTATE
DROP FOREIGN TABLE foreign_leaf;
SELECT audit.attach('root');
CREATE FOREIGN TABLE foreign_leaf PARTITION OF root FOR VALUES FROM (10) TO (20) SERVER regress_refused_server;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO root VALUES (1);

-- nothing was left behind
SELECT target FROM audit.attachments WHERE schema_name = 'regress_refused';

-- columns that are not there
SELECT audit.attach('plain', exclude => '{nosuch}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', mask => '{nosuch}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', key_columns => '{nosuch}');
\echo :LAST_ERROR_SQLSTATE
-- the key is what every event shows
SELECT audit.attach('plain', exclude => '{id}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', mask => '{id}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', mask => '{v}', key_columns => '{v}');
\echo :LAST_ERROR_SQLSTATE
-- values that a setting does not have
SELECT audit.attach('plain', capture => 'some');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', on_truncate => 'ignore');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', operations => '{insert,upsert}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', operations => '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach('plain', require => '{ticket}');
\echo :LAST_ERROR_SQLSTATE

-- detach says why, and of what
SELECT audit.detach('plain', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach('plain', '  ');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach('plain', 'was never attached');
\echo :LAST_ERROR_SQLSTATE

-- schemas
SELECT audit.attach_schema('regress_nosuch');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('pg_catalog');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.attach_schema('audit');
\echo :LAST_ERROR_SQLSTATE
SELECT audit.detach_schema('regress_refused', '');
\echo :LAST_ERROR_SQLSTATE

SELECT audit.detach('root', 'end of the test');
DROP FOREIGN DATA WRAPPER regress_refused_wrapper CASCADE;
DROP SCHEMA regress_refused CASCADE;
