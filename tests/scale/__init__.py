"""Large logs for load tests and rebuilds: `python -m tests.scale write` fills the log that the environment names.

vectors.py    vectors that lie as those of real photos do
history.py    which pet's which job comes when, and the facts
write.py      facts and keys into Kafka, as the embed role writes them
"""
