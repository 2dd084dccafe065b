-- Wait for those who write dead letters, and hold up others: a letter and its action must not pass each other unseen.
LOCK TABLE dead_letters IN SHARE ROW EXCLUSIVE MODE
