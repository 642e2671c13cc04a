"""`aurora evaluate`: how good captions are, beside references."""
