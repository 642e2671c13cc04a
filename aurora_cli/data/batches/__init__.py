"""Samples -> packs -> micro-batches, ordered by the seed."""
