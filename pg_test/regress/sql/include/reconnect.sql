-- A session of its own after one that restored events: seals are off until that one has ended.
\c
SET client_min_messages = warning;
SET TimeZone = 'UTC';
DO $$
BEGIN
    WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()) LOOP
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
    END LOOP;
END $$;
