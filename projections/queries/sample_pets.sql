-- The pets of the versions whose rows come next behind each of the ids $1. Ids are hashes, so any version is as likely.
SELECT DISTINCT found.pet_id
FROM unnest($1::uuid[]) AS start (id)
CROSS JOIN LATERAL (SELECT v.pet_id FROM pet_clusters AS v WHERE v.id >= start.id ORDER BY v.id LIMIT 1) AS found
