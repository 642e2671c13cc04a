"""`aurora download`."""
