"""The policy that a log's partitions are folded by: what is in force, how it is changed, and pets folded anew."""
