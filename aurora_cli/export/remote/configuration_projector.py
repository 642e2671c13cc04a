"""Config of the projector in an xtuner folder."""

from typing import Any

from transformers import PretrainedConfig


class ProjectorConfig(PretrainedConfig):
    model_type = "projector"

    def __init__(
        self,
        visual_hidden_size: int = 4096,
        llm_hidden_size: int = 4096,
        depth: int = 2,
        hidden_act: str = "gelu",
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        self.visual_hidden_size = visual_hidden_size
        self.llm_hidden_size = llm_hidden_size
        self.depth = depth
        self.hidden_act = hidden_act
        self.bias = bias
        super().__init__(**kwargs)
