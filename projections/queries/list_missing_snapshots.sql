-- Every $1th version of each pet that has no snapshot.
SELECT v.pet_id, v.version
FROM pet_clusters AS v
WHERE v.version % $1 = 0
  AND NOT EXISTS (SELECT FROM cluster_snapshots AS s WHERE s.pet_id = v.pet_id AND s.version = v.version)
ORDER BY v.pet_id, v.version
