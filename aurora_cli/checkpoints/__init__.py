"""Opening weights of any kind, and loading them into the network."""
