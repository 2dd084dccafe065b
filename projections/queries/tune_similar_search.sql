-- For this transaction: how many candidates a search of the graph keeps, and that it goes on when filters drop them.
SELECT
    set_config('hnsw.ef_search', $1, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.max_scan_tuples', $2, true), set_config('hnsw.scan_mem_multiplier', $3, true)
