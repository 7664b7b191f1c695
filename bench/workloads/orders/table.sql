-- (a) The table of 8 columns.
CREATE TABLE orders (
    id         integer PRIMARY KEY,
    customer   text NOT NULL,
    item       text NOT NULL,
    status     text NOT NULL,
    price      numeric(10,2) NOT NULL,
    quantity   integer NOT NULL,
    note       text,
    ordered_at timestamptz NOT NULL
);
