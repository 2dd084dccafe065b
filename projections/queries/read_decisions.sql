-- Read those of some decisions, given by pet and id, that are known.
SELECT d.*
FROM unnest($1::text[], $2::text[]) AS asked (pet_id, decision_id)
JOIN pet_decisions AS d USING (pet_id, decision_id)
