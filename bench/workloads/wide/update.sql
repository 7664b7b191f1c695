UPDATE wide SET column_01 = 'changed', column_03 = column_03 + 1 WHERE id BETWEEN :first AND :last
