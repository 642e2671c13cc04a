"""A model that is ready to caption, and what merging leaves of an image."""
