"""`aurora extract`."""
