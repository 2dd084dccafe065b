-- Delete a pet's vectors up to an offset of the log whose images the version of that offset does not hold.
DELETE FROM {photos} AS p
WHERE p.pet_id = $1 AND p.log_offset <= $2 AND NOT EXISTS (
    SELECT FROM cluster_members AS m
    WHERE m.pet_id = p.pet_id AND m.image_id = p.image_id AND m.until_version IS NULL
)
