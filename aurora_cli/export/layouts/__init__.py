"""Writers of the layouts of other programs."""
