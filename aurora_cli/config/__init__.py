"""The tree of settings, presets, and which source wins."""
