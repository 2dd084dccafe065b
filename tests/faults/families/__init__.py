"""The faults, one file a family; tests/faults/registry.py names them."""
