"""Samples -> packs -> micro-batches, in an order that only the seed decides."""
