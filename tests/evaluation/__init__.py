"""How good the clusters and their heroes are, on labelled sets made from real photographs: see docs/evaluation.md."""
