UPDATE orders SET status = 'shipped', quantity = quantity + 1 WHERE id BETWEEN :first AND :last
