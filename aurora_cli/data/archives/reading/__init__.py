"""What an archive holds, read front to back: its files as one stream, inflated, as members."""
