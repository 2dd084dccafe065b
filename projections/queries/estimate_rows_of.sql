-- About how many rows a table has, as the statistics know.
SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = to_regclass($1)
