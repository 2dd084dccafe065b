-- Read the number of each of these pets' last version, 0 for one that has none.
SELECT p.pet_id, coalesce((SELECT max(v.version) FROM pet_clusters AS v WHERE v.pet_id = p.pet_id), 0) AS version
FROM unnest($1::text[]) AS p (pet_id)
