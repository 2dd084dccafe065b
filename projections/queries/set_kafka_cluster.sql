-- This database belongs to Kafka $1 from now on.
UPDATE projection_generations SET kafka_cluster = $1 WHERE projection = 'live'
