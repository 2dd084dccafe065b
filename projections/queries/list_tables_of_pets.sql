-- List every table of any schema that says of a row whose pet it is of, with its columns.
SELECT table_schema AS schema, table_name AS name, array_agg(column_name::text) AS columns
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
GROUP BY table_schema, table_name
HAVING bool_or(column_name = 'pet_id')
ORDER BY 1, 2
