"""`aurora tokenize`."""
