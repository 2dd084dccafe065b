-- Move a position forward from where the caller believes it to be; changes no row when another writer moved it.
UPDATE projection_positions SET next_offset = $5
WHERE projection = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 AND next_offset < $5
