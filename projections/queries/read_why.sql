-- Read where image $2 of a pet lies at version $3, the version that put it there, the one that placed it at first, and
-- the user's decision that holds it, or else the one that put it there by taking back another one.
SELECT
    m.cluster_number, m.score, m.since_version, m.metadata,
    v.updated_at, v.job_id, v.model, v.policy_id, v.log_partition, v.log_offset,
    f.since_version AS first_version, w.updated_at AS first_at, w.job_id AS first_job, w.model AS first_model,
    w.policy_id AS first_policy, w.log_partition AS first_partition, w.log_offset AS first_offset,
    coalesce(m.metadata ->> 'decision', d.decision_id) AS decision_id, d.kind, d.who, d.why,
    d.version AS decision_version
FROM cluster_members AS m
LEFT JOIN pet_clusters AS v ON v.pet_id = m.pet_id AND v.version = m.since_version
LEFT JOIN pet_decisions AS d ON d.pet_id = m.pet_id AND CASE
    WHEN m.metadata ->> 'decision' IS NOT NULL THEN d.decision_id = m.metadata ->> 'decision'
    ELSE m.metadata ->> 'rule' = 'decided' AND d.version = m.since_version AND d.accepted
END
CROSS JOIN LATERAL (
    SELECT first.since_version
    FROM cluster_members AS first
    WHERE first.image_id = $2 AND first.pet_id = $1
    ORDER BY first.since_version
    LIMIT 1
) AS f
LEFT JOIN pet_clusters AS w ON w.pet_id = $1 AND w.version = f.since_version
WHERE m.image_id = $2 AND m.pet_id = $1 AND m.since_version <= $3
  AND coalesce(m.until_version > $3, true)
