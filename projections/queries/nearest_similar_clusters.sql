-- Find the clusters whose direction is nearest to a vector ($4, text) and that hold now, save those of some pets.
-- The graph gives them in about the right order: more are taken ($2) than are wanted ($5), and put in order.
WITH nearest AS MATERIALIZED (
    SELECT c.pet_id, c.cluster_number, s.label, s.member_count, c.vector <=> (SELECT $4::text::halfvec) AS distance
    FROM {clusters} AS c
    JOIN cluster_summaries AS s
        ON s.pet_id = c.pet_id AND s.cluster_number = c.cluster_number AND s.until_version IS NULL
    WHERE c.pet_id <> ALL ($1::text[])
    ORDER BY distance
    LIMIT $2
)
SELECT n.pet_id, n.cluster_number, n.label, n.member_count, h.image_id AS hero_image_id, 1 - n.distance AS cosine
FROM nearest AS n
LEFT JOIN cluster_heroes AS h
    ON h.pet_id = n.pet_id AND h.cluster_number = n.cluster_number AND h.rank = 1 AND h.until_version IS NULL
WHERE n.distance <= 1 - $3::float8
ORDER BY n.distance, n.pet_id, n.cluster_number
LIMIT $5
