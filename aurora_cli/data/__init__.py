"""From the published files to batches of a training run; no network."""
