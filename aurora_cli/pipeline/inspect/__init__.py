"""`aurora inspect`."""
