"""Words of the command line -> one call of a step; the only room that prints."""
