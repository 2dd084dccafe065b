-- Take a pin back.
DELETE FROM pinned_versions WHERE pet_id = $1 AND version = $2
