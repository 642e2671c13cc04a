"""`aurora convert`: a checkpoint of any kind to a folder that other programs load, and the proof of it."""
