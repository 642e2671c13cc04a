"""Fetching the published set, resumable and checked."""
