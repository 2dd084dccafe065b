-- Set letters to what their actions say, whichever came first: a requeue before a discard, then the earliest.
WITH decisive AS (
    SELECT DISTINCT ON (named.letter) named.letter, a.id, a.kind, a.at, a.who, a.why
    FROM dead_letter_actions AS a CROSS JOIN LATERAL unnest(a.letters) AS named (letter)
    WHERE a.letters && $1::uuid[]
    ORDER BY named.letter, (a.kind = 'requeue') DESC, a.at, a.id
)
UPDATE dead_letters AS l
SET state = CASE decisive.kind WHEN 'requeue' THEN 'requeued' ELSE 'discarded' END,
    action_id = decisive.id, acted_at = decisive.at, who = decisive.who, why = decisive.why
FROM decisive
WHERE l.id = decisive.letter AND l.id = ANY ($1::uuid[])
