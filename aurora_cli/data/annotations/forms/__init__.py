"""The forms in which annotations are published, a module each, with a `SCHEMA` that says how it is read."""
