-- List a pet's decisions, newest first, from before $2 in its log: of a kind, in a state, about a cluster, of an image.
SELECT d.*
FROM pet_decisions AS d
WHERE d.pet_id = $1
  AND d.log_offset < $2
  AND ($4::text IS NULL OR d.kind = $4::text)
  AND ($5::text IS NULL OR CASE
      WHEN NOT d.accepted THEN 'refused' WHEN d.undone_by IS NOT NULL THEN 'undone' ELSE 'accepted' END = $5::text)
  AND (
      $6::int IS NULL
      OR d.cluster = $6::int
      OR d.arguments -> 'cluster' = to_jsonb($6::int)
      OR d.arguments -> 'clusters' @> to_jsonb($6::int)
  )
  AND (
      $7::text IS NULL
      OR d.arguments ->> 'image_id' = $7::text
      OR d.arguments -> 'image_ids' @> to_jsonb($7::text)
  )
ORDER BY d.log_offset DESC
LIMIT $3
