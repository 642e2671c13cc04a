"""Captions judged by a language model behind an OpenAI-compatible endpoint: VDCscore, from questions and answers."""
