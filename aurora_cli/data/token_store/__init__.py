"""Arrow shards and merged folders on disk."""
