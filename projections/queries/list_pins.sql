-- List the pins of a pet, or of all (NULL), and whether the version is in the tables.
SELECT p.pet_id, p.version, p.who, p.why, p.pinned_at,
       EXISTS (SELECT FROM pet_clusters AS v WHERE v.pet_id = p.pet_id AND v.version = p.version) AS present
FROM pinned_versions AS p
WHERE $1::text IS NULL OR p.pet_id = $1
ORDER BY p.pet_id, p.version
