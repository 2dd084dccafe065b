-- Drop a model's tables.
DROP TABLE IF EXISTS {photos}, {clusters}
