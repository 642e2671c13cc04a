"""Writing the layouts of other programs, and the proof that they compute the same."""
