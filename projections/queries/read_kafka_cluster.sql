-- The Kafka that this database is filled from; NULL before any projector has started, empty when it must be adopted.
SELECT kafka_cluster FROM projection_generations WHERE projection = 'live'
