-- A small pharmaceutical story, for `cargo xtask demo`: one drug request, the results found for
-- it, and the sources that back them. Each transaction says who acts, for which request, in which
-- process and why.

CREATE TABLE drug_requests (
    id          bigint PRIMARY KEY,
    drug        text NOT NULL,
    indication  text NOT NULL,
    daily_dose  text NOT NULL,
    status      text NOT NULL DEFAULT 'draft',
    approved_by text,
    approved_at timestamptz
);

CREATE TABLE category_results (
    id         bigint PRIMARY KEY,
    request_id bigint NOT NULL REFERENCES drug_requests ON DELETE CASCADE,
    category   text NOT NULL,
    finding    text NOT NULL,
    confidence numeric(3, 2) NOT NULL
);

CREATE TABLE source_references (
    id        bigint PRIMARY KEY,
    result_id bigint NOT NULL REFERENCES category_results ON DELETE CASCADE,
    title     text NOT NULL,
    section   text
);

SELECT audit.attach('drug_requests');
SELECT audit.attach('category_results');
SELECT audit.attach('source_references');

-- Dr. Weber asks for metformin.
BEGIN;
SELECT audit.set_context(app_user_id => 'dr.weber', reason => 'new request from ward 3');
SELECT audit.begin_process('intake', request_id => 'REQ-2041', process_id => 'intake-1');
INSERT INTO drug_requests (id, drug, indication, daily_dose)
VALUES (1, 'Metformin', 'type 2 diabetes', '2000 mg');
UPDATE drug_requests SET status = 'submitted' WHERE id = 1;
SELECT audit.end_process(status => 'submitted');
COMMIT;

-- The research process, which the intake caused, finds results; a process of its own collects their sources.
BEGIN;
SELECT audit.set_context(app_user_id => 'research-service', reason => 'automatic literature search');
SELECT audit.begin_process('research', parent_process_id => 'intake-1', process_id => 'research-7');
UPDATE drug_requests SET status = 'in review' WHERE id = 1;
INSERT INTO category_results VALUES
    (11, 1, 'dosage', 'eGFR 30-44 ml/min: at most 1000 mg a day', 0.97),
    (12, 1, 'interactions', 'none with the present medication', 0.91),
    (13, 1, 'dosage', 'eGFR 30-44 ml/min: at most 1000 mg daily', 0.42);
SELECT audit.begin_process('sources', process_id => 'sources-8');
INSERT INTO source_references VALUES
    (101, 11, 'Metformin, summary of product characteristics', '4.2'),
    (102, 12, 'Metformin, summary of product characteristics', '4.5'),
    (103, 13, 'Metformin, package leaflet', '3'),
    (104, 13, 'Metformin, summary of product characteristics', '4.2');
SELECT audit.end_process();
SELECT audit.end_process();
COMMIT;

-- The pharmacist halves the dose, drops a duplicate result (its two sources go with it) and approves: one process, three transactions.
BEGIN;
SELECT audit.set_context(app_user_id => 'pharm.okafor', reason => 'eGFR 38 ml/min: dose halved (SmPC 4.2)');
SELECT audit.begin_process('review', parent_process_id => 'research-7', process_id => 'review-3');
UPDATE drug_requests SET daily_dose = '1000 mg' WHERE id = 1;
COMMIT;

BEGIN;
SELECT audit.set_context(request_id => 'REQ-2041', process_id => 'review-3',
                         app_user_id => 'pharm.okafor', reason => 'duplicate of result 11');
DELETE FROM category_results WHERE id = 13;
COMMIT;

BEGIN;
SELECT audit.set_context(request_id => 'REQ-2041', process_id => 'review-3',
                         app_user_id => 'pharm.okafor', reason => 'four-eyes check done');
UPDATE drug_requests SET status = 'approved', approved_by = 'pharm.okafor', approved_at = now()
WHERE id = 1;
SELECT audit.end_process(status => 'approved');
COMMIT;
