-- Count the dead letters that nobody has requeued or discarded.
SELECT count(*) FROM dead_letters WHERE state = 'open'
