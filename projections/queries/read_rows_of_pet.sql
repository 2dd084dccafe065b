-- Every row that a table has of a pet.
SELECT {columns} FROM {table} WHERE pet_id = $1
