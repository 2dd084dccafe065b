"""Faust stream loops: delivery rules, embedding, folding; and where images come from."""
