"""Features of a frozen vision tower, kept while a stage trains (`train.cache_features`)."""
