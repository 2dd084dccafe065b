-- Delete all that tells of a pet's versions up to $2; returns how many rows of each table.
WITH versions AS (
    DELETE FROM pet_clusters WHERE pet_id = $1 AND version <= $2 RETURNING 1
), members AS (
    DELETE FROM cluster_members WHERE pet_id = $1 AND since_version <= $2 RETURNING 1
), heroes AS (
    DELETE FROM cluster_heroes WHERE pet_id = $1 AND since_version <= $2 RETURNING 1
), summaries AS (
    DELETE FROM cluster_summaries WHERE pet_id = $1 AND since_version <= $2 RETURNING 1
), snapshots AS (
    DELETE FROM cluster_snapshots WHERE pet_id = $1 AND version <= $2 RETURNING 1
)
SELECT
    (SELECT count(*) FROM versions) AS pet_clusters,
    (SELECT count(*) FROM members) AS cluster_members,
    (SELECT count(*) FROM heroes) AS cluster_heroes,
    (SELECT count(*) FROM summaries) AS cluster_summaries,
    (SELECT count(*) FROM snapshots) AS cluster_snapshots
