DELETE FROM orders WHERE id BETWEEN :first AND :last
