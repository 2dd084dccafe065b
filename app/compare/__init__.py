"""Comparison of this service's answers with the predecessor's, pet by pet, in a shadow run."""
