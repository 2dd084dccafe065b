-- Compare a pet's clusters at versions $2 and $3: those that differ, by number, from behind $4 on.
-- `heir` is the end of the line of merges, the cluster itself when it was not merged; `sources` are the clusters
-- in which the images of a new one lay before.
WITH changed AS (
    SELECT cluster_number FROM cluster_summaries
    WHERE pet_id = $1 AND since_version > $2 AND since_version <= $3 AND cluster_number > $4
    UNION
    SELECT cluster_number FROM cluster_summaries
    WHERE pet_id = $1 AND until_version > $2 AND until_version <= $3 AND cluster_number > $4
)
SELECT
    c.cluster_number, before.state AS before, after.state AS after,
    heir.cluster_number AS heir, sources.numbers AS sources
FROM changed AS c
LEFT JOIN LATERAL (
    SELECT jsonb_build_array(s.label, s.member_count, s.tightness, coalesce((
        SELECT jsonb_agg(jsonb_build_array(h.image_id, h.rank, h.score, h.parts) ORDER BY h.rank)
        FROM cluster_heroes AS h
        WHERE h.pet_id = $1 AND h.cluster_number = c.cluster_number
          AND h.since_version <= $2 AND coalesce(h.until_version > $2, true)
    ), '[]'::jsonb)) AS state
    FROM cluster_summaries AS s
    WHERE s.pet_id = $1 AND s.cluster_number = c.cluster_number
      AND s.since_version <= $2 AND coalesce(s.until_version > $2, true)
    ORDER BY s.since_version DESC
    LIMIT 1
) AS before ON true
LEFT JOIN LATERAL (
    SELECT jsonb_build_array(s.label, s.member_count, s.tightness, coalesce((
        SELECT jsonb_agg(jsonb_build_array(h.image_id, h.rank, h.score, h.parts) ORDER BY h.rank)
        FROM cluster_heroes AS h
        WHERE h.pet_id = $1 AND h.cluster_number = c.cluster_number
          AND h.since_version <= $3 AND coalesce(h.until_version > $3, true)
    ), '[]'::jsonb)) AS state
    FROM cluster_summaries AS s
    WHERE s.pet_id = $1 AND s.cluster_number = c.cluster_number
      AND s.since_version <= $3 AND coalesce(s.until_version > $3, true)
    ORDER BY s.since_version DESC
    LIMIT 1
) AS after ON true
LEFT JOIN LATERAL (
    WITH RECURSIVE line (cluster_number, depth) AS (
        SELECT c.cluster_number, 0
        UNION ALL
        SELECT last.merged_into, line.depth + 1
        FROM line
        CROSS JOIN LATERAL (
            SELECT s.merged_into, s.until_version
            FROM cluster_summaries AS s
            WHERE s.pet_id = $1 AND s.cluster_number = line.cluster_number AND s.since_version <= $3
            ORDER BY s.since_version DESC
            LIMIT 1
        ) AS last
        -- The bound only ends what no fold writes: clusters merged in a circle.
        WHERE last.until_version <= $3 AND last.merged_into IS NOT NULL AND line.depth < 1000
    )
    SELECT cluster_number FROM line ORDER BY depth DESC LIMIT 1
) AS heir ON after.state IS NULL
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT was.cluster_number) AS numbers
    FROM cluster_members AS m
    JOIN cluster_members AS was ON was.image_id = m.image_id AND was.pet_id = m.pet_id
    WHERE m.pet_id = $1 AND m.cluster_number = c.cluster_number
      AND m.since_version > $2 AND m.since_version <= $3 AND coalesce(m.until_version > $3, true)
      AND was.since_version <= $2 AND was.until_version > $2 AND was.cluster_number >= 0
) AS sources ON before.state IS NULL
WHERE before.state IS DISTINCT FROM after.state
ORDER BY c.cluster_number
LIMIT $5
