"""Records -> token ids and labels."""
