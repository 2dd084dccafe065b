"""The log as files: export, check, import into an empty Kafka, and fitting Postgres to a Kafka that was restored."""
