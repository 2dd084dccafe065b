-- Read the last row of a cluster that began no later than a version; it holds at that version unless it ended by then.
SELECT since_version, until_version, label, member_count, merged_into
FROM cluster_summaries
WHERE pet_id = $1 AND cluster_number = $2 AND since_version <= $3
ORDER BY since_version DESC
LIMIT 1
