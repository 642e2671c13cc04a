"""What a model in training writes of a few fixed images and videos: to be looked at, and as scores."""
