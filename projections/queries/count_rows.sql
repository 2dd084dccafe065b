-- Count the rows of {table}.
SELECT count(*) FROM {table}
