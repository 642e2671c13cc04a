"""vLLM's reader of videos that leaves them as they are: which frames are taken, the processor of a request knows."""

from typing import Any

import numpy as np
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

NAME = "aurora"


@VIDEO_LOADER_REGISTRY.register(NAME)
class UndecodedVideo(VideoLoader):
    """vLLM keeps the bytes beside what is returned here."""

    @classmethod
    def load_bytes(cls, data: bytes, **kwargs: Any) -> tuple[np.ndarray, dict[str, str]]:
        return np.zeros((1, 1, 1, 3), np.uint8), {"video_backend": NAME}
