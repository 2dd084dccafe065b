"""The invariants, one file a part of the service; tests/faults/audit.py lists them."""
