-- Have every pet that has rows looked at whole.
INSERT INTO similar_pets AS p (pet_id, version)
SELECT pet_id, max(version) FROM pet_clusters GROUP BY pet_id ORDER BY pet_id
ON CONFLICT (pet_id) DO UPDATE SET version = excluded.version, looked = 0
