"""Layers that are computed otherwise than torch or transformers does it, with the same result."""
