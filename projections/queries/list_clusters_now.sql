-- Read how the last row of each of a pet's clusters stands, and which cluster has the members of one that was merged.
WITH RECURSIVE heirs AS (
    SELECT number, number AS heir, 0 AS steps FROM unnest($2::int[]) AS number
    UNION ALL
    SELECT h.number, s.merged_into, h.steps + 1
    FROM heirs AS h
    CROSS JOIN LATERAL (
        SELECT merged_into
        FROM cluster_summaries
        WHERE pet_id = $1 AND cluster_number = h.heir
        ORDER BY since_version DESC
        LIMIT 1
    ) AS s
    WHERE s.merged_into IS NOT NULL AND h.steps < 100
)
SELECT DISTINCT ON (h.number) h.number, last.until_version, nullif(h.heir, h.number) AS heir
FROM heirs AS h
CROSS JOIN LATERAL (
    SELECT until_version
    FROM cluster_summaries
    WHERE pet_id = $1 AND cluster_number = h.number
    ORDER BY since_version DESC
    LIMIT 1
) AS last
ORDER BY h.number, h.steps DESC
