-- Keep the compressed answer of a version; a repeat changes nothing.
INSERT INTO cluster_snapshots (pet_id, version, codec, payload) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
