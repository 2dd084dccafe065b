-- Keep an action on dead letters; a repeat changes nothing.
INSERT INTO dead_letter_actions (
    id, kind, letters, pet_id, job_id, who, why, at, message, log_partition, log_offset
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO NOTHING
