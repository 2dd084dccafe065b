-- Put a position anywhere; only while no projector writes.
UPDATE projection_positions SET next_offset = $4 WHERE projection = $1 AND topic = $2 AND partition = $3
