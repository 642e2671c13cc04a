"""aurora: from the published AuroraCap training set to a video captioner that runs in plain transformers."""

__version__ = "0.1.0"
