"""Under ZeRO-3 a rank never holds the whole network, and trains as if it had. Two gloo processes, the real network."""

import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from aurora_cli.config.settings import Settings
from aurora_cli.errors import DataError
from aurora_cli.pipeline.train.build_model import write_initial
from tests.captioners import WEIGHTS
from tests.distributed import campaign, shared_weights
from tests.distributed.test_stages import lines, stage
from tests.distributed.tiny_workspace import make

TIMES = ("data_s", "compute_s", "samples_per_s", "tokens_per_s", "max_mem_mb", "time", "step_s")
ENGINES = ("zero3", "zero3_offload")
QUIET: dict[str, Any] = {"samples_every": 0, "trackers": []}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("shared")
    make(workspace, "language", images=40, videos=12, texts=12)
    return workspace


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    tree = settings.model_dump(mode="json")
    for section, values in sections.items():
        tree[section] |= values
    return Settings.model_validate(tree)


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    """Runs of four steps under ZeRO-3, by kind, shared from the beginning; `whole-*` the same, divided later."""
    kinds = ("vision", "lora")
    runs = [stage(root, kind, f"{how}{kind}", deepspeed="zero3", **QUIET) for how in ("", "whole-") for kind in kinds]
    shared_weights.run("train", runs, root / "workers")
    return root


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in TIMES}


@pytest.mark.parametrize("kind", ["vision", "lora"])
def test_a_run_is_the_same_as_if_every_rank_had_loaded_the_whole_network(kind: str, trained: Path) -> None:
    ours, theirs = lines(trained, kind), lines(trained, f"whole-{kind}")
    assert len(ours) == 4
    assert [without_times(line) for line in ours] == [without_times(line) for line in theirs]


def test_shared_weights_are_those_of_the_whole_network_to_the_bit(trained: Path, tmp_path: Path) -> None:
    """Random, gone on from a checkpoint, models without a projector, tied; fp32 and bf16; with and without LoRA."""
    tied = {"text_config": {**stage(trained, "vision", "x").model.text_config, "tie_word_embeddings": True}}
    published = {
        "vision_tower": str(WEIGHTS / "visual_encoder"),
        "language_model": str(WEIGHTS / "llm"),
        "vision_config": None,
        "text_config": None,
    }
    step = "checkpoints/step-00000002"
    cases = [
        stage(trained, "vision", "new", deepspeed="zero3"),
        stage(trained, "projection", "new", deepspeed="zero3_offload"),
        stage(trained, "lora", "new", deepspeed="zero3", precision="bf16"),
        stage(trained, "vision", "vision", deepspeed="zero3_offload", resume=f"runs/vision/{step}"),
        stage(trained, "lora", "lora", deepspeed="zero3", resume=f"runs/lora/{step}"),
        changed(stage(trained, "vision", "tied", deepspeed="zero3"), model=tied),
        changed(stage(trained, "language", "published", deepspeed="zero3"), model=published),
    ]
    said = shared_weights.run("compare", cases, tmp_path)
    assert len(said) == len(cases)
    assert said["0"]["frozen"] > 0
    assert said["2"]["dtypes"] == ["torch.bfloat16"]
    assert said["5"]["parameters"] == said["0"]["parameters"] - 1  # the head is the embedding


@pytest.mark.parametrize(
    ("engine", "processes"), [("none", 1), pytest.param("zero3_offload", 2, marks=pytest.mark.soak)]
)
def test_what_a_shared_run_saved_goes_on_under_another_engine(engine: str, processes: int, trained: Path) -> None:
    kinds = ("vision", "lora")
    before = {kind: lines(trained, kind) for kind in kinds}
    going_on = [
        stage(
            trained,
            kind,
            kind,
            deepspeed=engine,
            micro_batch_packs=2 // processes,
            resume=f"runs/{kind}/checkpoints/step-00000002",
            **QUIET,
        )
        for kind in kinds
    ]
    campaign.run(going_on, processes, trained / f"{engine}-{processes}")
    for kind in kinds:
        after = lines(trained, kind)
        assert [line["step"] for line in after] == [1, 2, 3, 4]
        for a, b in zip(after, before[kind], strict=True):
            assert a["samples"] == b["samples"]
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def test_a_broken_value_in_one_ranks_share_ends_both_with_its_name(root: Path, tmp_path: Path) -> None:
    broken = stage(root, "projection", "broken", deepspeed="zero3", **QUIET)
    initial = root / "runs/broken/initial"
    write_initial(initial, broken)
    tensors = load_file(initial / "model.safetensors")
    tensors["language_model.lm_head.weight"][-1, -1] = float("nan")
    save_file(tensors, initial / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"tensor language_model\.lm_head\.weight holds NaN"):
        campaign.run([broken], 2, tmp_path)


def large(root: Path, width: int) -> Settings:
    """A network of which the language model is nearly all: 6.4 MB at a width of 128, and as its square."""
    text = {
        "hidden_size": width,
        "head_dim": 64,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 8,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "vocab_size": 8 * width,
    }
    settings = stage(root, "projection", f"large-{width}", deepspeed="zero3")
    assert settings.model.text_config is not None
    return changed(settings, model={"text_config": {**settings.model.text_config, **text}})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("engine", "width", "size_mb"),
    [("zero3", 512, 100), *(pytest.param(engine, 1024, 390, marks=pytest.mark.soak) for engine in ENGINES)],
)
def test_loading_takes_half_the_network_of_each_of_two_ranks(
    engine: str, width: int, size_mb: int, root: Path, tmp_path: Path
) -> None:
    settings = changed(large(root, width), train={"deepspeed": engine})
    write_initial(root / str(settings.train.run_dir) / "initial", settings)
    small = stage(root, "projection", "small", deepspeed=engine)
    said = shared_weights.run("measure", [small, settings], tmp_path)["1"]
    print(f"{said['size'] / 1e6:.0f} MB, largest {said['largest'] / 1e6:.0f} MB, peak {said['peak'] / 1e6:.0f} MB")
    assert said["size"] > size_mb * 1e6
    assert said["peak"] < said["size"] / 2 + said["largest"] + 8e6
