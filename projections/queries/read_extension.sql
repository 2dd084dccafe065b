-- Read the version of an extension in this database; no row when it is not there.
SELECT extversion FROM pg_extension WHERE extname = $1
