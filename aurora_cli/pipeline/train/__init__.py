"""`aurora train`: the only room where models, data, checkpoints and training meet."""
