-- Of the next $3 pets behind $1: the version at which its history begins when $2 days are kept, and since when it has one.
-- That version held at the beginning of those days: the one before the first that was written in them, or the last.
WITH RECURSIVE pets (pet_id, number) AS (
    (SELECT pet_id, 1 FROM pet_clusters WHERE pet_id > $1::text ORDER BY pet_id LIMIT 1)
    UNION ALL
    SELECT (SELECT v.pet_id FROM pet_clusters AS v WHERE v.pet_id > pets.pet_id ORDER BY v.pet_id LIMIT 1), number + 1
    FROM pets
    WHERE pets.pet_id IS NOT NULL AND number < $3::int
)
SELECT
    pets.pet_id, start.version,
    (
        SELECT v.created_at FROM pet_clusters AS v
        WHERE v.pet_id = pets.pet_id AND v.version >= start.version
        ORDER BY v.version
        LIMIT 1
    ) AS written_at
FROM pets
CROSS JOIN LATERAL (
    SELECT coalesce(
        (
            SELECT w.version - 1 FROM pet_clusters AS w
            WHERE w.pet_id = pets.pet_id AND w.created_at > now() - make_interval(days => $2::int)
            ORDER BY w.version
            LIMIT 1
        ),
        (SELECT max(w.version) FROM pet_clusters AS w WHERE w.pet_id = pets.pet_id)
    ) AS version
) AS start
WHERE pets.pet_id IS NOT NULL
ORDER BY pets.pet_id
