-- Every compressed answer of a pet.
SELECT version, codec, payload FROM cluster_snapshots WHERE pet_id = $1
