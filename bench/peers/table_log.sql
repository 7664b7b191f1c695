-- table_log, from the Debian package postgresql-15-tablelog, as its documentation sets it up: with an id and the user.
CREATE EXTENSION table_log;
CREATE SCHEMA table_log;
SELECT table_log_init(5, 'public', split_part(target, '.', 2), 'table_log', NULL)
FROM unnest(string_to_array(:'tables', ',')) AS target;
