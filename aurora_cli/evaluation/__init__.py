"""How good captions are: scores beside references, how sure they are, and how two captioners differ."""
