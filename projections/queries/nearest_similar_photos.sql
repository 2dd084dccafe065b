-- Find the photos nearest to a vector ($4, text) that lie in an album now, save those of some pets.
-- The graph gives them in about the right order: more are taken ($2) than are wanted ($5), and put in order.
WITH nearest AS MATERIALIZED (
    SELECT p.pet_id, p.image_id, m.cluster_number, p.vector <=> (SELECT $4::text::halfvec) AS distance
    FROM {photos} AS p
    JOIN cluster_members AS m ON m.pet_id = p.pet_id AND m.image_id = p.image_id AND m.until_version IS NULL
    WHERE p.pet_id <> ALL ($1::text[])
    ORDER BY distance
    LIMIT $2
)
SELECT pet_id, image_id, cluster_number, 1 - distance AS cosine
FROM nearest
WHERE distance <= 1 - $3::float8
ORDER BY distance, pet_id, image_id
LIMIT $5
