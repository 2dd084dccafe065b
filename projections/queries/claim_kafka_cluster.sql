-- Note the Kafka that this database is filled from, unless one is noted; returns the one that is.
UPDATE projection_generations SET kafka_cluster = coalesce(kafka_cluster, $1) WHERE projection = 'live' RETURNING kafka_cluster
