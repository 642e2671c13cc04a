"""From the settings of a run to the plan of its batches."""

from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.training_data import BatchPlan
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.pipeline.train.build_data import batch_plan


def test_every_value_of_the_plan_is_the_setting_of_its_name() -> None:
    settings = Settings.model_validate(
        {
            "model": {"image_size": 84, "image_mean": (0.1, 0.2, 0.3), "image_std": (0.4, 0.5, 0.6)},
            "train": {
                "pack_tokens": 99,
                "pack_frames": 7,
                "global_batch_packs": 6,
                "micro_batch_packs": 3,
                "epochs": 2.5,
                "max_steps": 11,
                "seed": 5,
            },
            "data": {
                "batching": "grouped",
                "too_long": "reject",
                "validation_share": 0.2,
                "frame_sampling": "fps",
                "fps": 2.0,
                "workers": 4,
            },
        }
    )
    assert batch_plan(settings) == BatchPlan(
        budget=PackBudget(tokens=99, frames=7),
        image_size=84,
        image_mean=(0.1, 0.2, 0.3),
        image_std=(0.4, 0.5, 0.6),
        global_batch_packs=6,
        micro_batch_packs=3,
        batching="grouped",
        too_long="reject",
        validation_share=0.2,
        epochs=2.5,
        max_steps=11,
        seed=5,
        sampling=Sampling("fps", 2.0),
        workers=4,
    )
