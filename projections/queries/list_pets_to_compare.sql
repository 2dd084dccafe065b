-- The next pets behind $1 of both schemas: where the live versions' unbroken run begins (pinned ones may stand before it),
-- and the last version that both have; null where one has none.
WITH pets AS (
    (SELECT DISTINCT pet_id FROM {live}.pet_clusters WHERE pet_id > $1 ORDER BY 1 LIMIT $2)
    UNION
    (SELECT DISTINCT pet_id FROM {shadow}.pet_clusters WHERE pet_id > $1 ORDER BY 1 LIMIT $2)
    ORDER BY 1 LIMIT $2
)
SELECT
    p.pet_id, live.oldest,
    CASE WHEN live.last IS NOT NULL AND shadow.last IS NOT NULL THEN least(live.last, shadow.last) END AS common
FROM pets AS p
CROSS JOIN LATERAL (
    SELECT max(v.version) AS last, max(v.version) FILTER (WHERE v.version - v.before IS DISTINCT FROM 1) AS oldest
    FROM (
        SELECT version, lag(version) OVER (ORDER BY version) AS before
        FROM {live}.pet_clusters WHERE pet_id = p.pet_id
    ) AS v
) AS live
CROSS JOIN LATERAL (SELECT max(version) AS last FROM {shadow}.pet_clusters WHERE pet_id = p.pet_id) AS shadow
ORDER BY 1
