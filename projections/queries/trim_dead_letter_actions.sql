-- Delete actions older than $1 days of whose letters none is left; at most $2. While one is, its state follows from them.
DELETE FROM dead_letter_actions
WHERE id = ANY (ARRAY(
    SELECT a.id FROM dead_letter_actions AS a
    WHERE a.at < now() - make_interval(days => $1::int)
      AND NOT EXISTS (SELECT FROM dead_letters AS l WHERE l.id = ANY (a.letters))
    LIMIT $2::int
))
