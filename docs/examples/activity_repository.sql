-- An activity log repository: categories, severities, actors, entities; pages that stay put; filters; free text; counts; streaming export;
-- pruning by age and by number, clearing.
\set QUIET on
\set SHOW_CONTEXT never
-- A migration that runs again changes nothing.
CREATE EXTENSION IF NOT EXISTS pg_attest;
CREATE TABLE IF NOT EXISTS document (id int PRIMARY KEY, name text);
SELECT audit.attach('document');
SELECT audit.attach('document');
SELECT target, healthy FROM audit.attachments;
-- The months ahead; the first audit.attach makes them, too.
SELECT count(*) > 0 AS maintained FROM audit.maintain();

-- A thousand entries with one and the same time, and a few more.
SELECT count(audit.log_event('sync', format('entry %s of 1000', n), category => 'background',
                             severity => CASE WHEN n % 100 = 0 THEN 'warning' ELSE 'info' END,
                             entity_type => 'feed', entity_id => (n % 7)::text)) AS logged
FROM generate_series(1, 1000) n;
BEGIN;
SET LOCAL audit.app_user_id = 'ann'; SET LOCAL audit.tenant_id = 'acme'; SET LOCAL audit.session_id = 's-1';
SELECT audit.log_event('document.renamed', '100% done_really', entity_type => 'document', entity_id => '5', entity_name => 'Plan_B',
                       category => 'editing', severity => 'notice', metadata => '{"from": "Plan A", "to": "Plan_B"}') > 0 AS logged;
COMMIT;

-- Pages by key: each begins where the last one ended, whatever has arrived since, and no entry comes twice or never.
CREATE TEMPORARY TABLE page (number int, event_id bigint);
DO $$
DECLARE
    last bigint;
    number int := 0;
BEGIN
    LOOP
        number := number + 1;
        INSERT INTO page SELECT number, e.event_id FROM audit.events(category => '{background}', before_id => last, page_size => 300) e;
        EXIT WHEN NOT FOUND;
        SELECT min(p.event_id) INTO last FROM page p;
        -- Somebody goes on writing.
        PERFORM audit.log_event('sync', 'arrived between two pages', category => 'background');
    END LOOP;
END
$$;
SELECT number, count(*) FROM page GROUP BY number ORDER BY number;
SELECT count(*) AS entries, count(DISTINCT event_id) AS once_each, count(DISTINCT occurred_at) AS times
FROM page JOIN audit.audit_events USING (event_id);

-- Filters, alone and together; free text with % and _ as they are.
SELECT action, entity_name, description FROM audit.events(severity => '{notice}', tenant_id => 'acme', app_user_id => 'ann', session_id => 's-1');
SELECT entity_name FROM audit.events(search => '100% DONE_');
SELECT count(*) FROM audit.events(search => '100_ done', page_size => 1000);
SELECT audit.count_events(category => '{background}') AS background, audit.count_events(severity => '{warning,critical}') AS warnings,
       audit.count_events(entity_type => 'feed', entity_id => '3') AS feed_3, audit.count_events(search => 'of 1000') AS text;
-- What cannot be meant is refused.
SELECT audit.count_events(severity => '{loud}');

-- Export as a stream: the server sends row by row, and no side keeps more than a few of them.
COPY (SELECT action, severity, description FROM audit.audit_events WHERE category = 'editing' ORDER BY event_id) TO STDOUT (FORMAT csv, HEADER);
BEGIN;
DECLARE export NO SCROLL CURSOR FOR SELECT description FROM audit.audit_events WHERE category = 'background' ORDER BY event_id;
FETCH 2 FROM export;
MOVE 996 FROM export;
FETCH 2 FROM export;
COMMIT;

-- Sealed and verified.
SELECT audit.seal() > 0 AS sealed;
SELECT check_name, ok FROM audit.verify() WHERE check_name IN ('events', 'leaves', 'checkpoints', 'signatures');

-- Pruning by number of entries and by age: a policy for the category, first told, then done. What is held or not sealed stays.
SELECT audit.set_retention('90 days', category => 'background', max_events => 100);
SELECT audit.set_retention('90 days', category => 'background', max_events => 100);
SELECT policy, keep, max_events FROM audit.retention_policies;
SELECT policy, subject, due, pruned FROM audit.apply_retention(dry_run => true) WHERE due > 0;
SELECT policy, subject, due, pruned FROM audit.apply_retention(dry_run => false) WHERE due > 0;
SELECT audit.count_events(category => '{background}') AS background;
-- By age alone: nothing is older than ninety days, all is older than a microsecond.
SELECT audit.set_retention('90 days', category => 'background');
SELECT coalesce(sum(due), 0) AS due FROM audit.apply_retention();
SELECT audit.set_retention('1 microsecond', category => 'background');
SELECT sum(due) AS due FROM audit.apply_retention();
SELECT sum(pruned) AS pruned FROM audit.apply_retention(dry_run => false);
SELECT audit.count_events(category => '{background}') AS background;

-- Clearing. What was pruned and cleared, and why, is in the log.
SELECT audit.clear('editing', 'the demonstration is over') AS cleared;
SELECT audit.count_events(category => '{editing}') AS editing;
SELECT action, context ->> 'category' AS category, reason FROM audit.events(operation => '{system}', action => '{prune,clear}') ORDER BY event_id;
