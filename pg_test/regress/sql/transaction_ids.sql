-- Case 31: capture takes no subtransaction and no transaction id of its own: what one transaction wrote, rows and events, has one xmin.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE SCHEMA regress_transaction_ids;
SET search_path = regress_transaction_ids;
\set SHOW_CONTEXT never

CREATE TABLE t (id int PRIMARY KEY, v text, j json);
SELECT audit.attach('t');

BEGIN;
INSERT INTO t SELECT g, 'v' || g, '{}' FROM generate_series(1, 1200) g;
UPDATE t SET v = v || '!' WHERE id <= 600;
-- a value that JSONB cannot hold is caught without a subtransaction
INSERT INTO t VALUES (0, 'odd', '"\u0000"');
SELECT pg_current_xact_id()::xid AS xid \gset
COMMIT;
SELECT count(*) AS events, count(DISTINCT xmin::text) AS xmins, bool_and(xmin = :'xid') AS the_transactions_own
FROM audit.audit_events WHERE schema_name = 'regress_transaction_ids' AND operation <> 'system';

DROP SCHEMA regress_transaction_ids CASCADE;
