-- Read one version of a pet, without its clusters.
SELECT version, updated_at, cluster_count, image_count, unclustered_count, job_id, model, policy_id,
       log_partition, log_offset
FROM pet_clusters
WHERE pet_id = $1 AND version = $2
