"""`aurora import`."""
