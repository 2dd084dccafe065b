-- Read the original bytes of one letter.
SELECT payload FROM dead_letters WHERE id = $1
