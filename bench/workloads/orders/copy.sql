COPY orders (id, customer, item, status, price, quantity, note, ordered_at) FROM :file
