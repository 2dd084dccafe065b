-- Note up to when a purged pet's jobs are ignored.
INSERT INTO similar_pets AS p (pet_id, accepted_until) VALUES ($1, $2)
ON CONFLICT (pet_id) DO UPDATE SET accepted_until = greatest(p.accepted_until, excluded.accepted_until)
