-- Digests of pets' rows, each from a version ($2) up to a version ($3), as they stood at the latter.
SELECT
    b.pet_id,
    (
        SELECT md5(string_agg((
            v.version, v.cluster_count, v.image_count, v.unclustered_count, v.metrics, v.job_id, v.model, v.policy_id,
            v.max_cluster_size, v.log_partition, v.log_offset, v.updated_at
        )::text, '' ORDER BY v.version))
        FROM {schema}.pet_clusters AS v
        WHERE v.pet_id = b.pet_id AND v.version BETWEEN b.oldest AND b.common
    ) AS versions,
    (
        SELECT md5(string_agg((
            m.image_id, m.cluster_number, m.score, m.since_version,
            CASE WHEN m.until_version <= b.common THEN m.until_version END, m.metadata
        )::text, '' ORDER BY m.image_id, m.since_version))
        FROM {schema}.cluster_members AS m
        WHERE m.pet_id = b.pet_id AND m.since_version <= b.common
          AND (m.until_version IS NULL OR m.until_version > b.oldest)
    ) AS members,
    (
        SELECT md5(string_agg((
            h.cluster_number, h.image_id, h.rank, h.score, h.since_version,
            CASE WHEN h.until_version <= b.common THEN h.until_version END, h.selected_at,
            h.parts
        )::text, '' ORDER BY h.cluster_number, h.image_id, h.since_version))
        FROM {schema}.cluster_heroes AS h
        WHERE h.pet_id = b.pet_id AND h.since_version <= b.common
          AND (h.until_version IS NULL OR h.until_version > b.oldest)
    ) AS heroes,
    (
        SELECT md5(string_agg((
            s.cluster_number, s.since_version, CASE WHEN s.until_version <= b.common THEN s.until_version END,
            s.label, s.member_count, s.tightness, CASE WHEN s.until_version <= b.common THEN s.merged_into END,
            s.split_from
        )::text, '' ORDER BY s.cluster_number, s.since_version))
        FROM {schema}.cluster_summaries AS s
        WHERE s.pet_id = b.pet_id AND s.since_version <= b.common
          AND (s.until_version IS NULL OR s.until_version > b.oldest)
    ) AS summaries,
    (
        -- One that was refused made no version: which of them are at the common one, nobody can tell.
        SELECT md5(string_agg((
            d.decision_id, d.kind, d.arguments, d.expected_version, d.who, d.why, d.version, d.cluster, d.images,
            CASE WHEN u.version <= b.common THEN d.undone_by END, d.log_partition, d.log_offset, d.decided_at
        )::text, '' ORDER BY d.log_offset))
        FROM {schema}.pet_decisions AS d
        LEFT JOIN {schema}.pet_decisions AS u ON u.pet_id = d.pet_id AND u.decision_id = d.undone_by
        WHERE d.pet_id = b.pet_id AND d.accepted AND d.version <= b.common
    ) AS decisions
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS b (pet_id, oldest, common)
