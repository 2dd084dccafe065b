-- Note that a purge was asked for; changes nothing when it is known, done or not.
INSERT INTO pet_purges (pet_id, purge_id, accepted_until, who, why) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (pet_id, purge_id) DO NOTHING
