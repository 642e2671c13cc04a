"""Linear layers that are computed otherwise than torch does it."""
