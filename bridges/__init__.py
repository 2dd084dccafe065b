"""From Redis Streams into Kafka."""
