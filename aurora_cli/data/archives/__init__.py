"""Tar archives and their parts: reading, unpacking, indexing."""
