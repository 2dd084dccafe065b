-- One pet ($1) in one schema: its oldest version that is not pinned, or its last; and its last. Null where it has none.
SELECT
    coalesce(
        min(v.version) FILTER (
            WHERE NOT EXISTS (
                SELECT FROM {live}.pinned_versions AS pin WHERE pin.pet_id = v.pet_id AND pin.version = v.version
            )
        ),
        max(v.version)
    ) AS oldest,
    max(v.version) AS last
FROM {schema}.pet_clusters AS v
WHERE v.pet_id = $1
