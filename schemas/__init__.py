"""What travels between the processes: commands, facts, versions, public messages, topics and their codecs.

Imports only the standard library and msgspec, so that every other package may depend on it.
"""
