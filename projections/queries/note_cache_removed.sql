-- Note in the receipts of a pet's purges that its cached answer is gone.
UPDATE pet_purges SET cache_removed_at = now()
WHERE pet_id = $1 AND purged_at IS NOT NULL AND cache_removed_at IS NULL
