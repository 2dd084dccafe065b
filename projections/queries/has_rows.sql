-- Read whether {table} has at least so many rows.
SELECT count(*) = $1 FROM (SELECT FROM {table} LIMIT $1) AS first
