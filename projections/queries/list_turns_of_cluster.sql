-- List the rows at which a cluster of a pet began, got another label or ended, oldest first, with the times of these
-- versions and the decisions that made them.
WITH rows AS (
    SELECT
        since_version, until_version, label, merged_into, split_from,
        lag(label) OVER times AS label_before, lag(until_version) OVER times AS ended_before,
        lead(since_version) OVER times AS goes_on
    FROM cluster_summaries
    WHERE pet_id = $1 AND cluster_number = $2
    WINDOW times AS (ORDER BY since_version)
), turns AS (
    SELECT since_version AS version, label, label_before, split_from AS other,
        CASE WHEN label_before IS NULL THEN 'begun' WHEN ended_before < since_version THEN 'resumed' ELSE 'renamed' END
        AS what
    FROM rows
    WHERE label_before IS NULL OR ended_before < since_version OR label <> label_before
    UNION ALL
    SELECT until_version, NULL, label, merged_into, CASE WHEN merged_into IS NULL THEN 'ended' ELSE 'merged' END
    FROM rows
    WHERE until_version IS NOT NULL AND until_version IS DISTINCT FROM goes_on
)
SELECT t.*, v.updated_at, d.decision_id, d.kind, d.who, d.why, d.version AS decision_version
FROM turns AS t
LEFT JOIN pet_clusters AS v ON v.pet_id = $1 AND v.version = t.version
LEFT JOIN LATERAL (
    SELECT * FROM pet_decisions WHERE pet_id = $1 AND version = t.version AND accepted ORDER BY log_offset LIMIT 1
) AS d ON true
ORDER BY t.version
LIMIT $3
