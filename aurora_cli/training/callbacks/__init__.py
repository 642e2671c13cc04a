"""What a run calls as it goes: trackers, copies of checkpoints."""
