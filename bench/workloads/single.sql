-- (e) Statements of one row, in a loop inside the server.
CREATE PROCEDURE insert_singly(first integer, last integer, commit_each boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        INSERT INTO orders VALUES (n, 'Customer', 'Item number 1', 'new', 12.50, 3, 'deliver before noon', now());
        IF commit_each THEN COMMIT; END IF;
    END LOOP;
END
$$;

CREATE PROCEDURE update_singly(first integer, last integer, commit_each boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        UPDATE orders SET status = 'shipped', quantity = quantity + 1 WHERE id = n;
        IF commit_each THEN COMMIT; END IF;
    END LOOP;
END
$$;

CREATE PROCEDURE delete_singly(first integer, last integer, commit_each boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN first .. last LOOP
        DELETE FROM orders WHERE id = n;
        IF commit_each THEN COMMIT; END IF;
    END LOOP;
END
$$;
