"""The network. No files, no data."""
