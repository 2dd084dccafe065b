-- How many rows table $1 has, as of its last ANALYZE; -1 when there was none.
SELECT reltuples FROM pg_class WHERE oid = $1::text::regclass
