-- Read whether any row tells of a pet: a version, a job, a letter, a purge.
SELECT
    EXISTS (SELECT FROM pet_clusters WHERE pet_id = $1)
    OR EXISTS (SELECT FROM cluster_jobs WHERE pet_id = $1)
    OR EXISTS (SELECT FROM dead_letters WHERE pet_id = $1)
    OR EXISTS (SELECT FROM pet_purges WHERE pet_id = $1)
