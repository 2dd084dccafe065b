-- Read what the current answer of a pet is built from, in one statement and hence at one version.
SELECT
    v.pet_id, v.version, v.image_count, v.unclustered_count, v.updated_at, v.metrics,
    (SELECT generation FROM projection_generations WHERE projection = 'live') AS generation,
    (
        SELECT json_agg(json_build_array(
            s.cluster_number, s.label, s.member_count,
            coalesce((
                SELECT json_agg(json_build_array(best.image_id, best.score, best.duplicate_of)
                                ORDER BY best.score DESC, best.image_id)
                FROM (
                    SELECT m.image_id, m.score, m.metadata ->> 'duplicate_of' AS duplicate_of
                    FROM cluster_members AS m
                    WHERE m.pet_id = v.pet_id AND m.cluster_number = s.cluster_number AND m.until_version IS NULL
                    ORDER BY m.score DESC, m.image_id
                    LIMIT v.max_cluster_size
                ) AS best
            ), '[]'::json),
            coalesce((
                SELECT json_agg(json_build_array(h.image_id, h.rank, h.score, h.parts) ORDER BY h.rank)
                FROM cluster_heroes AS h
                WHERE h.pet_id = v.pet_id AND h.cluster_number = s.cluster_number AND h.until_version IS NULL
            ), '[]'::json)
        ) ORDER BY s.cluster_number)
        FROM cluster_summaries AS s
        WHERE s.pet_id = v.pet_id AND s.until_version IS NULL
    ) AS clusters,
    ARRAY(
        SELECT m.image_id FROM cluster_members AS m
        WHERE m.pet_id = v.pet_id AND m.cluster_number = -1 AND m.until_version IS NULL
        ORDER BY m.since_version DESC, m.image_id
        LIMIT 1000
    ) AS unclustered
FROM (SELECT * FROM pet_clusters WHERE pet_id = $1 ORDER BY version DESC LIMIT 1) AS v
