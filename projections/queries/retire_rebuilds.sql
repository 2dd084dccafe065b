-- Give up every rebuild that could still be gone on with, swapped in or rolled back; returns their generations.
UPDATE rebuild_runs SET state = 'given_up', ended_at = now() WHERE state IN ('building', 'built', 'swapped')
RETURNING generation
