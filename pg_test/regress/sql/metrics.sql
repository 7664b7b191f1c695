-- audit.metrics, audit.line_protocol, audit.openmetrics: the log in numbers. live-tests' readers have InfluxDB and Prometheus judge them.
SET client_min_messages = warning;
CREATE DATABASE regress_metrics TEMPLATE template0 ENCODING 'UTF8';
\c regress_metrics
SET client_min_messages = warning;
CREATE EXTENSION pg_attest;
\set SHOW_CONTEXT never

CREATE TABLE dose (id int PRIMARY KEY, mg numeric);
CREATE TABLE "we""ird, =table" (id int PRIMARY KEY);
SELECT audit.attach('dose'), audit.attach('"we""ird, =table"');
INSERT INTO dose SELECT n, n FROM generate_series(1, 100) n;
UPDATE dose SET mg = mg + 1 WHERE id <= 10;
DELETE FROM dose WHERE id = 1;
INSERT INTO "we""ird, =table" VALUES (1);
SELECT audit.log_event('login', category => 'auth') > 0 AS logged;

-- a hundred requests of 1 to 100 ms, four of them failed; calls of two providers, who are paid by the unit
SELECT count(audit.log_request('/doses', 'GET', CASE WHEN ms % 25 = 0 THEN 500 ELSE 200 END, ms)) FROM generate_series(1, 100) ms;
SELECT count(audit.log_request('/v1/predict', 'POST', 200, 1000 * n, provider => 'chem.example',
                               metadata => jsonb_build_object('usage', jsonb_build_object('calls', 1, 'cost_usd', 0.25 * n))))
FROM generate_series(1, 3) n;
SELECT audit.log_request('/search', 'GET', error_message => 'no answer', provider => 'slow "search", inc.') > 0 AS logged;
SELECT audit.seal() > 0 AS sealed;
INSERT INTO dose VALUES (1001, 1), (1002, 2);

-- everything but what depends on the clock and the storage
SELECT metric, tags, field, sum(value) AS value
FROM audit.metrics('36500 days', now() - interval '1 hour', now() + interval '1 hour')
WHERE field <> 'bytes' AND field NOT LIKE 'lag%' AND tags ->> 'operation' IS DISTINCT FROM 'system'
GROUP BY metric, tags, field ORDER BY metric, tags, field;

-- two ways to count: bucket by bucket, and at once
SELECT (SELECT sum(value) FROM audit.metrics('1 second', '-infinity', 'infinity') WHERE metric = 'events' AND field = 'count') = count(*) AS all_counted,
       (SELECT sum(value) FROM audit.metrics('1 second', '-infinity', 'infinity') WHERE metric = 'seal' AND field = 'sealed')
           = (SELECT max(tree_size) FROM audit.checkpoints) AS all_sealed,
       (SELECT max(value) FROM audit.metrics('36500 days', '-infinity', 'infinity') WHERE field = 'lag_max_s')
           = (SELECT round(extract(epoch FROM max(sealed_at) - min(captured_at)), 6) FROM audit.checkpoints, audit.audit_events) AS lag_is_that_of_the_first
FROM audit.audit_events;
SELECT bool_and(at = date_trunc('minute', at)) AS whole_minutes, bool_and(value >= 0) AS no_negatives
FROM audit.metrics('1 minute', '-infinity', 'infinity');
SELECT count(*) FROM audit.metrics('1 minute', now() + interval '1 minute', 'infinity');
SELECT count(*) FROM audit.metrics('1 minute', 'infinity', '-infinity');
-- some kinds alone are what they are among all
SELECT wanted, array_agg(DISTINCT m.metric) AS metrics,
       array_agg(to_jsonb(m) ORDER BY m.at, m.metric, m.tags, m.field) = (
           SELECT array_agg(to_jsonb(a) ORDER BY a.at, a.metric, a.tags, a.field) FROM audit.metrics('1 minute', '-infinity', 'infinity') a
           WHERE a.metric = ANY (wanted)) AS same
FROM (VALUES ('{events}'::text[]), ('{requests}'), ('{api}'), ('{seal}'), ('{events,requests,api}'), ('{seal,api}')) AS w (wanted)
CROSS JOIN LATERAL audit.metrics('1 minute', '-infinity', 'infinity', wanted) m GROUP BY wanted ORDER BY wanted;
SELECT count(*) FROM audit.metrics('1 minute', '-infinity', 'infinity', '{nothing}');
SELECT audit.metrics('1 month');
SELECT audit.metrics('0 s');

-- what stands where audit.log_request would have put it, and is something else
SELECT max(occurred_at) + interval '1 microsecond' AS then FROM audit.audit_events \gset
SET audit.context = '{"request": {"success": "true", "response_time_ms": "NaN", "provider": {"a": 1}}, "metadata": {"usage": [1]}}';
SELECT audit.log_event('request') > 0 AS logged;
SET audit.context = '{"request": {"success": true, "response_time_ms": 1e300, "provider": null}}';
SELECT audit.log_event('request', metadata => '{"usage": {"": 1, "x": "y", "calls": 1e20}}') > 0 AS logged;
SET audit.context = '{"request": 5}';
SELECT audit.log_event('request') > 0 AS logged;
RESET audit.context;
SELECT metric, tags, field, value FROM audit.metrics('36500 days', :'then', 'infinity') WHERE metric IN ('requests', 'api') ORDER BY 1, 2, 3;

-- the line protocol
SELECT audit.line_protocol('m, =', '{"z": "1", "a": "x, y=z", "k,e=y ": "v", "": "no key", "empty": "", "null": null, "n": 5}', '{"f": 1}',
                           '2026-01-31 12:00:00.123456+00');
SELECT audit.line_protocol('m', jsonb_build_object('tag', value), jsonb_build_object('field', value), 'epoch')
FROM unnest(ARRAY['back\slash', 'ends\', 'comma\,', E'line\nend', E'cr\r\x01\x7f', 'qu"ote', 'Zoë 🜁', '\', '"', '#', '=']) AS value;
SELECT audit.line_protocol('m', '{}', jsonb_build_object('value', value), 'epoch')
FROM unnest(ARRAY['1', '1.0', '-0.5', '9223372036854775807', '9223372036854775808', '-9223372036854775808', '1e300', '1e-7', 'true', 'false', '"true"', '{"a": [1]}', '[]', '""']::jsonb[]) AS value;
-- no field, no line
SELECT audit.line_protocol('m', '{}', '{}', now()), audit.line_protocol('m', '{}', '{"a": null}', now()), audit.line_protocol('m', '{}', '{"a": 1e400}', now()),
       audit.line_protocol('', '{}', '{"a": 1}', now()), audit.line_protocol('m', NULL, '{"a": 1}', now());
SELECT regexp_replace(regexp_replace(line, ' \d+$', ' …'), '(bytes|lag_\w+)=[\d.]+', '\1=…', 'g') AS line
FROM audit.metrics_line_protocol(now() - interval '1 hour', :'then', '36500 days') AS line WHERE line NOT LIKE '%operation=system%' ORDER BY 1;
SELECT bool_and(line ~ ' \d{10}000000000$') AS whole_seconds FROM audit.metrics_line_protocol('-infinity', 'infinity', '10 s') AS line;

-- OpenMetrics
SELECT name, type, unit, labels, value FROM audit.gauges()
WHERE name NOT IN ('pg_attest', 'pg_attest_log_bytes', 'pg_attest_last_checkpoint_timestamp_seconds', 'pg_attest_oldest_unsealed_age_seconds', 'pg_attest_sealer');
SELECT line FROM regexp_split_to_table(audit.openmetrics(), '\n') WITH ORDINALITY AS l (line, place) WHERE line LIKE '# %' ORDER BY place;
SELECT audit.openmetrics() LIKE E'%\n# EOF\n' AS ends, audit.openmetrics() ~ '(?n)^pg_attest_sealed_events_total \d+$' AS counter;
-- what is broken shows
ALTER TABLE dose DISABLE TRIGGER audit_update;
ALTER EVENT TRIGGER audit_ddl_command_end DISABLE;
SELECT name, value FROM audit.gauges() WHERE name ~ 'broken|disabled';

-- for readers
CREATE ROLE regress_metrics_reader;
SET ROLE regress_metrics_reader;
SELECT count(*) FROM audit.metrics();
SELECT audit.openmetrics();
SELECT audit.line_protocol('m', '{}', '{"a": 1}', now());
RESET ROLE;
SELECT audit.grant_access('regress_metrics_reader', 'reader');
SET ROLE regress_metrics_reader;
SELECT count(*) > 0 AS metrics FROM audit.metrics(until => 'infinity');
SELECT count(*) > 0 AS lines FROM audit.metrics_line_protocol('-infinity', 'infinity');
SELECT audit.openmetrics() LIKE '# TYPE %' AS openmetrics;
RESET ROLE;

\c regression
DROP DATABASE regress_metrics;
DROP ROLE regress_metrics_reader;
