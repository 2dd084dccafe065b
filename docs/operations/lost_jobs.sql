-- The jobs that a restored Kafka knows nothing of, oldest first: a body of POST /internal/cluster-jobs a line.
-- To be run behind `log adopt`, before the roles start; see backup.md.
SELECT jsonb_strip_nulls(jsonb_build_object(
    'pet_id', j.pet_id, 'job_id', j.job_id,
    'reason', first.command -> 'reason', 'force', first.command -> 'force', 'metadata', first.command -> 'metadata',
    'payload', jsonb_build_object(
        'image_ids', coalesce((
            SELECT jsonb_agg(i.image ORDER BY c.part, i.place)
            FROM cluster_job_commands AS c,
                 jsonb_array_elements(c.command -> 'image_ids') WITH ORDINALITY AS i (image, place)
            WHERE c.cluster_job_id = j.id AND c.run = first.run AND c.attempt = 1
        ), '[]'),
        'images', (
            SELECT jsonb_agg(jsonb_build_object('image_id', i.key) || i.value ORDER BY c.part, i.key)
            FROM cluster_job_commands AS c, jsonb_each(c.command -> 'insights') AS i
            WHERE c.cluster_job_id = j.id AND c.run = first.run AND c.attempt = 1
        ),
        'labels', first.command -> 'labels', 'coverage', first.command -> 'coverage',
        'quality_score', first.command -> 'quality_score'
    )
)) AS job
FROM cluster_jobs AS j
JOIN LATERAL (
    SELECT c.run, c.command, c.log_partition, c.log_offset FROM cluster_job_commands AS c
    WHERE c.cluster_job_id = j.id AND c.attempt = 1 ORDER BY c.run, c.part LIMIT 1
) AS first ON true
WHERE j.status = 'succeeded' AND j.placed > 0
      AND j.version > coalesce((SELECT max(v.version) FROM pet_clusters AS v WHERE v.pet_id = j.pet_id), 0)
   OR j.status IN ('queued', 'processing') AND first.log_offset >= (
      SELECT p.next_offset FROM projection_positions AS p
      WHERE p.projection = 'postgres' AND p.topic LIKE '%media.jobs' AND p.partition = first.log_partition
   )
ORDER BY j.enqueued_at, j.job_id;
