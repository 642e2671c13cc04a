"""Files that are whole, durable, and read ahead."""
