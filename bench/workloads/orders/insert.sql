INSERT INTO orders
SELECT g, 'Customer ' || g, 'Item number ' || g % 1000, 'new', g % 9973 / 100.0, g % 100, 'deliver before noon',
       timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second'
FROM generate_series(:first, :last) AS g
