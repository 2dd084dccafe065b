-- List the clusters that a pet's versions behind $2 have changed and that hold now, with what their direction counts.
SELECT
    s.cluster_number AS number, s.member_count AS members, d.member_count AS counted,
    EXISTS (
        SELECT FROM cluster_summaries AS e
        WHERE e.pet_id = $1 AND e.until_version > $2 AND e.merged_into = s.cluster_number
    ) OR EXISTS (
        SELECT FROM cluster_summaries AS b
        WHERE b.pet_id = $1 AND b.since_version > $2 AND b.split_from = s.cluster_number
    ) AS regrouped
FROM cluster_summaries AS s
LEFT JOIN {clusters} AS d ON d.pet_id = s.pet_id AND d.cluster_number = s.cluster_number
WHERE s.pet_id = $1 AND s.until_version IS NULL AND s.since_version > $2
ORDER BY s.cluster_number
