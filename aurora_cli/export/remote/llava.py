"""The merging model under the name of LLaVA's own class. Written by `aurora convert`; Apache-2.0.

`transformers serve` decides by a class's name whether a model sees images. One module cannot hold two classes of this
name, and in the model's own the name is that of transformers.
"""

from aurora_cli.export.remote.model import AuroraCapForImageTextToText


class LlavaForConditionalGeneration(AuroraCapForImageTextToText):
    """What `AutoModelForMultimodalLM` makes of an export with `trust_remote_code=True`: visual tokens merge."""
