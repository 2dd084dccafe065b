-- Read which version a pet had at a time, and whether the one behind it is there (retention may have removed it).
-- The last version that is not later: a clock that was behind makes a version begin before the one that it follows.
SELECT v.version, EXISTS (SELECT FROM pet_clusters AS n WHERE n.pet_id = $1 AND n.version = v.version + 1) AS followed
FROM (
    SELECT version FROM pet_clusters
    WHERE pet_id = $1 AND updated_at <= $2
    ORDER BY version DESC
    LIMIT 1
) AS v
