"""`aurora merge-view`: an image as the vision tower keeps it, at several kept ratios side by side."""
