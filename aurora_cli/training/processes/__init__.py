"""Ranks: starting them, their signals, what they decide together, what ends them when they hang."""
