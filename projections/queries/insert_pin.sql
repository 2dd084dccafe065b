-- Pin a version; a repeat changes nothing.
INSERT INTO pinned_versions (pet_id, version, who, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
