-- Delete a pet's decisions that stand before $2 in its log.
DELETE FROM pet_decisions WHERE pet_id = $1 AND log_offset < $2
