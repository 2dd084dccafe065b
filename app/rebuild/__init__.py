"""Rebuilding a projection from the log: the processes, what the operator sees, the order of things."""
