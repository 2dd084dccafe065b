"""Purges of pets: asking for one, its receipt, and the check that nothing is left."""
