"""The forms in which captions are kept, a module each, with a `FORMAT` that says how it is recognised and read."""
