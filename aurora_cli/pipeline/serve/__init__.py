"""`aurora serve`."""
