-- Delete a pet's jobs accepted up to $2, its pins up to version $4, its dead letters and their actions up to $3; returns
-- how many rows of each table. Of jobs that were accepted behind that moment and folded before the purge all the same,
-- those whose images stood in one of its versions.
WITH jobs AS (
    DELETE FROM cluster_jobs
    WHERE pet_id = $1 AND (enqueued_at <= $2 OR (placed + known > 0 AND version BETWEEN 1 AND $4))
    RETURNING id
), commands AS (
    DELETE FROM cluster_job_commands AS c USING cluster_jobs AS j
    WHERE j.id = c.cluster_job_id AND j.pet_id = $1
      AND (j.enqueued_at <= $2 OR (j.placed + j.known > 0 AND j.version BETWEEN 1 AND $4))
    RETURNING 1
), pins AS (
    DELETE FROM pinned_versions WHERE pet_id = $1 AND version <= $4 RETURNING 1
), letters AS (
    DELETE FROM dead_letters WHERE pet_id = $1 AND failed_at <= $3 RETURNING 1
), actions AS (
    DELETE FROM dead_letter_actions WHERE pet_id = $1 AND at <= $3 RETURNING 1
)
SELECT
    (SELECT count(*) FROM jobs) AS cluster_jobs,
    (SELECT count(*) FROM commands) AS cluster_job_commands,
    (SELECT count(*) FROM pins) AS pinned_versions,
    (SELECT count(*) FROM letters) AS dead_letters,
    (SELECT count(*) FROM actions) AS dead_letter_actions
