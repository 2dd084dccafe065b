-- Read from which version on a pet's history is kept without a gap; what is pinned below does not count.
SELECT coalesce(
    (
        SELECT version
        FROM pet_clusters AS v
        WHERE pet_id = $1
          AND NOT EXISTS (SELECT FROM pinned_versions AS p WHERE p.pet_id = v.pet_id AND p.version = v.version)
        ORDER BY version
        LIMIT 1
    ),
    (SELECT max(version) FROM pet_clusters WHERE pet_id = $1)
)
