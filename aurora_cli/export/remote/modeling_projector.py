"""The projector of an xtuner folder: linear layers with an activation between them."""

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from .configuration_projector import ProjectorConfig


class ProjectorModel(PreTrainedModel):
    config_class = ProjectorConfig
    base_model_prefix = "model"

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = [nn.Linear(config.visual_hidden_size, config.llm_hidden_size, bias=config.bias)]
        for _ in range(1, config.depth):
            layers.append(ACT2FN[config.hidden_act])
            layers.append(nn.Linear(config.llm_hidden_size, config.llm_hidden_size, bias=config.bias))
        self.model = nn.Sequential(*layers)
        self.post_init()

    def forward(self, visual_tokens: Tensor) -> Tensor:
        return self.model(visual_tokens)
