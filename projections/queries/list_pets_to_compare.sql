-- The next pets behind $1 of both schemas: the oldest version that both have and that is not pinned (retention keeps those
-- without gaps), and the last version that both have; null where one has none; and whether only one of the two has seen
-- the pet's last purge.
WITH pets AS (
    (SELECT DISTINCT pet_id FROM {live}.pet_clusters WHERE pet_id > $1 ORDER BY 1 LIMIT $2)
    UNION
    (SELECT DISTINCT pet_id FROM {shadow}.pet_clusters WHERE pet_id > $1 ORDER BY 1 LIMIT $2)
    ORDER BY 1 LIMIT $2
)
SELECT
    p.pet_id, greatest(coalesce(live.oldest, live.last), coalesce(shadow.oldest, shadow.last)) AS oldest,
    CASE WHEN live.last IS NOT NULL AND shadow.last IS NOT NULL THEN least(live.last, shadow.last) END AS common,
    (SELECT last_version FROM {live}.purged_versions WHERE pet_id = p.pet_id)
        IS DISTINCT FROM (SELECT last_version FROM {shadow}.purged_versions WHERE pet_id = p.pet_id) AS purged_apart
FROM pets AS p
CROSS JOIN LATERAL (
    SELECT
        max(v.version) AS last,
        min(v.version) FILTER (
            WHERE NOT EXISTS (
                SELECT FROM {live}.pinned_versions AS pin WHERE pin.pet_id = v.pet_id AND pin.version = v.version
            )
        ) AS oldest
    FROM {live}.pet_clusters AS v
    WHERE v.pet_id = p.pet_id
) AS live
CROSS JOIN LATERAL (
    SELECT
        max(v.version) AS last,
        min(v.version) FILTER (
            WHERE NOT EXISTS (
                SELECT FROM {live}.pinned_versions AS pin WHERE pin.pet_id = v.pet_id AND pin.version = v.version
            )
        ) AS oldest
    FROM {shadow}.pet_clusters AS v
    WHERE v.pet_id = p.pet_id
) AS shadow
ORDER BY 1
