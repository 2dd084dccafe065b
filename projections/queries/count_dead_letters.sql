-- Count the letters of a filter (each part NULL for any).
SELECT count(*)
FROM dead_letters
WHERE ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR subject = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::text IS NULL OR pet_id = $4)
  AND ($5::text IS NULL OR job_id = $5)
  AND ($6::timestamptz IS NULL OR failed_at >= $6)
  AND ($7::timestamptz IS NULL OR failed_at < $7)
