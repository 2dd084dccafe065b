-- One pet ($1) in both schemas: the oldest live version that is not pinned, and the last of each; null where one has none.
SELECT
    coalesce(
        (
            SELECT min(v.version) FROM {live}.pet_clusters AS v
            WHERE v.pet_id = $1
              AND NOT EXISTS (
                  SELECT FROM {live}.pinned_versions AS pin WHERE pin.pet_id = v.pet_id AND pin.version = v.version
              )
        ),
        (SELECT max(version) FROM {live}.pet_clusters WHERE pet_id = $1)
    ) AS oldest,
    (SELECT max(version) FROM {live}.pet_clusters WHERE pet_id = $1) AS live_last,
    (SELECT max(version) FROM {shadow}.pet_clusters WHERE pet_id = $1) AS shadow_last
