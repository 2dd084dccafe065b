-- List which of a pet's clusters was made of which one, by a split or a merge, oldest first.
SELECT split_from AS parent, cluster_number AS child, since_version AS version, 'split' AS how
FROM cluster_summaries
WHERE pet_id = $1 AND split_from IS NOT NULL
UNION ALL
SELECT cluster_number, merged_into, until_version, 'merge'
FROM cluster_summaries
WHERE pet_id = $1 AND merged_into IS NOT NULL AND until_version IS NOT NULL
ORDER BY version, parent, child
LIMIT $2
