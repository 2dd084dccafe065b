-- The constraints of table $1 of the kinds $2, keys before what refers to them.
SELECT conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid = $1::text::regclass AND contype = ANY ($2::"char"[])
ORDER BY contype DESC, conname
