"""Make the figure of `how-it-works/merging.md`: `aurora merge-view` on an image as the demo draws them.

The tower has the published model's grid (378 px, patches of 14) and random weights from a fixed seed: what it finds
alike are patches of like colour.

    python docs/merging_figure.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from aurora_cli.config.settings import MergeViewSettings, Settings
from aurora_cli.demo.drawing import Scene, draw
from aurora_cli.pipeline import merge_view

FIGURE = Path(__file__).parent / "how-it-works" / "merging.png"
SCENE = Scene("cross", "yellow", "centre", None, (0.47, 0.52), 0.3, (90, 120, 150))


def save_model(folder: Path) -> None:
    """Twelve layers, as wide as makes the figure in a second."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig

    from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig

    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=12, num_attention_heads=4,
                              image_size=378, patch_size=14)  # fmt: skip
    text = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=64)
    merging = {"kept_ratio": 1.0}
    config = AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=64, merging=merging)
    AuroraCap(config).save_pretrained(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder / "model")
        image = draw(SCENE)[0]
        small = draw(replace(SCENE, shape="circle", colour="red", centre=(0.8, 0.2), radius=0.12))[0]
        image.paste(small.crop((34, 0, 56, 22)), (34, 0))
        image.save(folder / "drawn.png")
        view = MergeViewSettings(image=folder / "drawn.png", model=str(folder / "model"), output=FIGURE, device="cpu")
        print("\n".join(merge_view.run(Settings(workspace=folder, merge_view=view)).lines()))


if __name__ == "__main__":
    main()
