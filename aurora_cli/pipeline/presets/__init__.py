"""`aurora presets`: which there are, what is in one, and making one's own."""
