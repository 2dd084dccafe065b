-- Read in which state these jobs are, and at which version.
SELECT id, status::text AS status, version FROM cluster_jobs WHERE id = ANY($1::uuid[])
