"""Paths of records -> frames."""
