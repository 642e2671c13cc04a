"""Low-rank adapters of peft and of our own runs, merged into the weights that they change."""
