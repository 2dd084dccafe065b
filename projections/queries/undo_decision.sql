-- Note by which decision ($3) another one of the pet was undone; the first that did so stays.
UPDATE pet_decisions SET undone_by = $3 WHERE pet_id = $1 AND decision_id = $2 AND undone_by IS NULL
