"""The entry point `vllm.general_plugins: aurora`, which vLLM calls in every process that it starts."""

from aurora_cli.serving.vllm.served import ARCHITECTURE

MODEL = "aurora_cli.serving.vllm.inside.model:AuroraCapForVLLM"


def register() -> None:
    """Make our model known, and the config by which vLLM finds it; nothing else of vLLM or transformers changes."""
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from aurora_cli.serving.vllm.config import LlavaConfig

    ModelRegistry.register_model(ARCHITECTURE, MODEL)
    AutoConfig.register(LlavaConfig.model_type, LlavaConfig, exist_ok=True)
