-- Pets of both schemas behind $1: the oldest live version and the last one that both have; null where one has none.
SELECT pet_id, live.oldest, least(live.last, shadow.last) AS common
FROM (SELECT pet_id, min(version) AS oldest, max(version) AS last FROM {live}.pet_clusters WHERE pet_id > $1 GROUP BY 1) AS live
FULL JOIN (SELECT pet_id, max(version) AS last FROM {shadow}.pet_clusters WHERE pet_id > $1 GROUP BY 1) AS shadow USING (pet_id)
ORDER BY pet_id
LIMIT $2
