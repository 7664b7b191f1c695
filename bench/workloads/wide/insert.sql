INSERT INTO wide
SELECT g,
       'text of row ' || g, 'value ' || g % 100, g % 1000, g * 7919::bigint, g % 9973 / 100.0, g % 2 = 0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second', date '2026-01-01' + g % 365,
       'text of row ' || g, 'value ' || g % 100, g % 1000, g * 7919::bigint, NULL, g % 2 = 0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second', date '2026-01-01' + g % 365,
       'text of row ' || g, 'value ' || g % 100, g % 1000, g * 7919::bigint, g % 9973 / 100.0, g % 2 = 0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second', date '2026-01-01' + g % 365,
       'text of row ' || g, NULL, g % 1000, g * 7919::bigint, g % 9973 / 100.0, g % 2 = 0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second', date '2026-01-01' + g % 365,
       'text of row ' || g, 'value ' || g % 100, g % 1000, g * 7919::bigint, g % 9973 / 100.0, g % 2 = 0, NULL
FROM generate_series(:first, :last) AS g
