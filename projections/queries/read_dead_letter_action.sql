-- Read the message of one action on dead letters.
SELECT message FROM dead_letter_actions WHERE id = $1
