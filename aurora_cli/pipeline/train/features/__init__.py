"""Features of a frozen vision tower, kept while a stage trains (`train.cache_features`), and where a run's processes
share files: they, and plans of packs, may lie on scratch."""
