-- Read what the answer of a pet was built from at a version: the rows with since <= version < until.
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
                    WHERE m.pet_id = v.pet_id AND m.cluster_number = s.cluster_number
                      AND m.since_version <= v.version AND coalesce(m.until_version > v.version, true)
                    ORDER BY m.score DESC, m.image_id
                    LIMIT v.max_cluster_size
                ) AS best
            ), '[]'::json),
            coalesce((
                SELECT json_agg(json_build_array(h.image_id, h.rank, h.score, h.parts) ORDER BY h.rank)
                FROM cluster_heroes AS h
                WHERE h.pet_id = v.pet_id AND h.cluster_number = s.cluster_number
                  AND h.since_version <= v.version AND coalesce(h.until_version > v.version, true)
            ), '[]'::json)
        ) ORDER BY s.cluster_number)
        FROM cluster_summaries AS s
        WHERE s.pet_id = v.pet_id AND s.since_version <= v.version AND coalesce(s.until_version > v.version, true)
    ) AS clusters,
    ARRAY(
        SELECT m.image_id FROM cluster_members AS m
        WHERE m.pet_id = v.pet_id AND m.cluster_number = -1
          AND m.since_version <= v.version AND coalesce(m.until_version > v.version, true)
        ORDER BY m.since_version DESC, m.image_id
        LIMIT 1000
    ) AS unclustered
FROM pet_clusters AS v
WHERE v.pet_id = $1 AND v.version = $2
