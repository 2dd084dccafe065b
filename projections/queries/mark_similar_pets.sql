-- Note that pets have come to a version; sorted, so that two writers take turns.
INSERT INTO similar_pets AS p (pet_id, version)
SELECT pet_id, version FROM unnest($1::text[], $2::bigint[]) AS new (pet_id, version) ORDER BY pet_id
ON CONFLICT (pet_id) DO UPDATE SET version = greatest(p.version, excluded.version)
