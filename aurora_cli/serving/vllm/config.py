"""How vLLM finds that a LLaVA is an export of ours: its config says how it merges."""

from typing import Any

import transformers

from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.serving.vllm.served import ARCHITECTURE


class LlavaConfig(AuroraCapConfig):
    """What `model_type: llava` is read as in vLLM's processes.

    An export of ours gets the architecture of the plugin's model in the place of LLaVA's. Its file keeps LLaVA's, by
    which everything else loads it, vLLM without the plugin among that; and so exports of any age are found. A LLaVA of
    others is read by transformers' class. The name is that of transformers' class, which finds processors by it.
    """

    @classmethod
    def from_dict(cls, config_dict: JsonObject, **kwargs: Any) -> Any:
        if not isinstance(config_dict.get("merging"), dict):
            return transformers.LlavaConfig.from_dict(config_dict, **kwargs)
        return super().from_dict({**config_dict, "architectures": [ARCHITECTURE]}, **kwargs)
