"""Published records, as typed values."""
