"""The few numbers and words that all rooms share."""

IMAGE_PLACEHOLDER = -200
"""Stands in stored `input_ids` where one image, or one frame of a video, goes."""

IGNORE_INDEX = -100
"""Stands in `labels` where a token is no target: the label mask."""

VIDEO_QUESTION = "Describe the video in detail."
"""What is asked about a video where nobody says otherwise: before a bare caption in training, and in captioning."""

STAGES = ("projection", "vision", "language")
"""The published splits, and the stages that train on them, in their order."""

ALL_STAGES = "all"
"""Names, instead of one stage, every stage of the preset, one after another."""

REJECTS_FILE = "rejected.jsonl"
"""Beside every output: a line for each thing left out of it, with the reason."""

SETTINGS_FILE = "aurora.yaml"
"""The workspace's own settings."""

IMAGE = "<image>"
"""Stands in the text of a record where an image goes."""

VIDEO = "<video>"
"""Stands in the text of a record where a video goes."""

SETTINGS_SUFFIX = ".settings.json"
"""Behind the name of a file of captions: the settings that they were made with."""
