"""`aurora caption`, and the page that it serves."""
