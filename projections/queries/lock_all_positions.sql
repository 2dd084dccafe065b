-- All stored positions; none can move until the transaction ends.
SELECT projection, topic, partition, next_offset FROM projection_positions ORDER BY projection, topic, partition FOR UPDATE
