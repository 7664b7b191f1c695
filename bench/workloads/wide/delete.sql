DELETE FROM wide WHERE id BETWEEN :first AND :last
