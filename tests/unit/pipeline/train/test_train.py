"""`aurora train` on a tiny workspace, in this process: stages, resuming, what is refused and what it says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aurora_cli.checkpoints.loading import load_model
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.pipeline.train import command as train
from tests.distributed import tiny_workspace
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines
from tests.tokenizer_families import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
METRICS = [
    "step", "epoch", "loss", "lr", "grad_norm", "samples", "tokens", "taught_tokens", "visual_tokens", "fill", "step_s",
    "tokens_per_s", "max_mem_mb",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the data of all stages, never trained in."""
    root = tmp_path_factory.mktemp("tokenized")
    for stage in tiny_workspace.STAGES:
        make(root, stage, images=12, videos=4, texts=4)
    return root


def alone(root: Path, **changes: Any) -> Settings:
    """A stage that starts from random weights and trains everything."""
    return settings(root, "language", **{"after": None, **changes})


def lines(root: Path, stage: str = "language") -> list[dict[str, Any]]:
    return json_lines(root / "runs" / stage / "metrics.jsonl")


def lasting(root: Path) -> list[dict[str, Any]]:
    """The metrics that do not depend on the machine."""
    passing = ("step_s", "tokens_per_s", "max_mem_mb")
    return [{key: value for key, value in line.items() if key not in passing} for line in lines(root)]


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(root.rglob("*")) if p.is_file()}


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in load_model(path).state_dict().items()}


@pytest.mark.slow
def test_each_stage_changes_exactly_what_it_trains_and_chains_from_the_one_before(root: Path) -> None:
    trained = {
        "projection": ("model.multi_modal_projector.",),
        "vision": ("model.multi_modal_projector.", "model.vision_tower."),
        "language": ("",),
    }
    before: dict[str, torch.Tensor] | None = None
    for stage, prefixes in trained.items():
        result = train.run(settings(root, stage, max_steps=2))
        assert (result.did, result.step, result.steps) == ("trained", 2, 2)
        start = tensors(root / "runs" / "projection" / "initial") if before is None else before
        after = tensors(root / "runs" / stage)
        changed = {name for name in after if not torch.equal(after[name], start[name])}
        # the last layer of the tower and its closing norm never run; a key bias has gradient zero by mathematics
        idle = ("model.vision_tower.encoder.layers.2.", "model.vision_tower.post_layernorm.")
        expected = {n for n in after if n.startswith(prefixes) and not n.startswith(idle)}
        key_biases = {name for name in expected if name.endswith("k_proj.bias")}
        embeddings = {"model.language_model.embed_tokens.weight"}
        assert changed - key_biases == expected - key_biases, stage
        assert stage != "language" or embeddings <= changed
        before = after


@pytest.mark.slow
def test_the_lines_of_metrics_have_exactly_the_promised_keys(root: Path) -> None:
    train.run(alone(root, max_steps=3))
    assert [list(line) for line in lines(root)] == [METRICS] * 3
    assert [line["step"] for line in lines(root)] == [1, 2, 3]
    assert all(0 < line["fill"] <= 1 and line["samples"] > 0 and line["visual_tokens"] > 0 for line in lines(root))


@pytest.mark.slow
def test_a_second_run_does_nothing_and_says_so(root: Path) -> None:
    train.run(alone(root, max_steps=2))
    before = snapshot(root)
    result = train.run(alone(root, max_steps=2))
    assert (result.did, result.exit_code) == ("nothing", 0)
    assert "nothing to do" in result.lines()[0]
    assert snapshot(root) == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_another_one_another(root: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        train.run(alone(root, seed=seed, resume="never", max_steps=3))
        runs.append([line["loss"] for line in lines(root)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.slow
def test_a_longer_run_goes_on_from_the_shorter_ones_end(root: Path) -> None:
    train.run(alone(root, max_steps=2))
    result = train.run(alone(root, max_steps=4))
    assert (result.resumed_from, result.step) == (2, 4)
    assert [line["step"] for line in lines(root)] == [1, 2, 3, 4]


@pytest.mark.slow
def test_resumed_from_an_earlier_checkpoint_the_run_is_the_same(root: Path) -> None:
    train.run(alone(root, max_steps=4))
    whole, weights = lasting(root), tensors(root / "runs" / "language")
    train.run(alone(root, max_steps=4, resume="runs/language/checkpoints/step-00000002"))
    assert lasting(root) == whole
    again = tensors(root / "runs" / "language")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on(root: Path) -> None:
    train.run(alone(root, max_steps=4))
    whole = lasting(root)
    path = root / "runs/language/checkpoints/step-00000002/resume/state.json"
    state = json.loads(path.read_text())
    state["usual_loss"] = state.pop("loss_ema")
    del state["schema"]
    path.write_text(json.dumps(state))
    train.run(alone(root, max_steps=4, resume="runs/language/checkpoints/step-00000002"))
    assert lasting(root) == whole


@pytest.mark.slow
def test_resume_never_begins_again(root: Path) -> None:
    train.run(alone(root, max_steps=2))
    first = lasting(root)
    result = train.run(alone(root, max_steps=2, resume="never"))
    assert (result.did, result.resumed_from) == ("trained", None)
    assert lasting(root) == first


@pytest.mark.slow
def test_other_settings_than_the_run_began_with_are_refused_and_named(root: Path) -> None:
    train.run(alone(root, max_steps=2))
    with pytest.raises(UsageError) as caught:
        train.run(alone(root, max_steps=4, seed=7, pack_tokens=128))
    assert "train.pack_tokens was 96, is now 128; train.seed was 0, is now 7" in str(caught.value)
    assert "--resume never" in str(caught.value)


@pytest.mark.slow
def test_deepspeed_on_one_process_gives_the_same_losses_and_goes_on_without(root: Path) -> None:
    train.run(alone(root, max_steps=4, run_dir="runs/plain"))
    train.run(alone(root, max_steps=2, deepspeed="zero2", epochs=9))
    train.run(alone(root, max_steps=4, deepspeed="none", epochs=9))
    plain = json_lines(root / "runs/plain/metrics.jsonl")
    # the shorter run's rate falls earlier: only its first step is the same
    assert lines(root)[0]["loss"] == pytest.approx(plain[0]["loss"], abs=1e-5)
    assert len(lines(root)) == 4


@pytest.mark.slow
def test_an_unreadable_image_is_left_out_and_listed(root: Path) -> None:
    (root / "data/language/images/3.png").write_bytes(b"not an image")
    chosen = alone(root, max_steps=3)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"max_bad_share": 0.5})})
    result = train.run(chosen)
    rejected = json_lines(root / "runs/language/rejected.jsonl")
    assert result.rejected == len(rejected) >= 1
    assert {line["id"] for line in rejected} == {"image-3"}
    assert all(line["step"] >= 1 and line["reason"] for line in rejected)


@pytest.mark.slow
def test_too_many_unreadable_images_are_exit_3(root: Path) -> None:
    for image in (root / "data/language/images").glob("*.png"):
        image.write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot be read"):
        train.run(alone(root, max_steps=3))


def adapted(root: Path, **changes: Any) -> Settings:
    """Adapters on both parts, and the projector whole."""
    lora = {"language_model": {"rank": 2, "targets": ["q_proj"]}, "vision_tower": {"rank": 3, "alpha": 3.0}}
    return alone(root, **{"lora": lora, **changes})


@pytest.mark.slow
def test_with_adapters_they_and_the_projector_are_all_that_a_checkpoint_holds(root: Path) -> None:
    train.run(adapted(root, max_steps=2))
    folder = root / "runs/language/checkpoints/step-00000002"
    held = load_file(folder / "model.safetensors")
    others = {name for name in held if ".lora_" not in name}
    assert others == {f"model.multi_modal_projector.linear_{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    first = "model.language_model.layers.0.self_attn.q_proj"
    assert held[f"{first}.lora_A.default.weight"].shape == (2, 33)
    assert held[f"{first}.lora_B.default.weight"].abs().sum() > 0
    assert not any(".layers.2." in name for name in held if "vision_tower" in name), "a layer that never runs"
    said = json.loads((folder / "checkpoint.json").read_text())
    assert said["lora"]["language_model"] == {"rank": 2, "alpha": 32.0, "dropout": 0.0, "targets": ["q_proj"]}
    assert said["lora"]["vision_tower"]["targets"] == ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]
    assert said["base"] == "runs/language/initial"


@pytest.mark.slow
def test_the_next_stage_starts_from_the_weights_with_the_adapters_merged(root: Path) -> None:
    lora = {"language_model": {"rank": 2, "targets": ["q_proj"]}}
    train.run(alone(root, lora=lora, vision_tower=None, projector=None, max_steps=2))
    merged, start = tensors(root / "runs/language"), tensors(root / "runs/language/initial")
    changed = {name for name in merged if not torch.equal(merged[name], start[name])}
    assert changed == {f"model.language_model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}
    train.run(alone(root, init_from="runs/language", run_dir="runs/next", language_model=None, max_steps=1))
    after = tensors(root / "runs/next")
    assert all(torch.equal(after[name], merged[name]) for name in changed)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resumed_with_adapters_the_run_is_the_same(dropout: float, root: Path) -> None:
    lora = {"language_model": {"rank": 2, "dropout": dropout}}
    train.run(adapted(root, max_steps=4, lora=lora))
    whole = lasting(root)
    train.run(adapted(root, max_steps=4, lora=lora, resume="runs/language/checkpoints/step-00000002"))
    assert lasting(root) == whole


@pytest.mark.slow
def test_held_out_samples_are_measured_at_every_checkpoint_and_never_trained_on(root: Path) -> None:
    chosen = alone(root, max_steps=4)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"validation_share": 0.2})})
    train.run(chosen)
    measured = [line for line in lines(root) if "validation_loss" in line]
    assert [line["step"] for line in measured] == [2, 4]
    assert [line["validation_samples"] for line in measured] == [4, 4]
    assert all(0 < line["validation_loss"] < 10 and line["validation_taught_tokens"] > 0 for line in measured)
    assert measured[0]["validation_loss"] != measured[1]["validation_loss"]


@pytest.mark.slow
def test_captions_of_the_same_images_are_written_every_so_many_steps_and_at_the_end(root: Path) -> None:
    train.run(alone(root, max_steps=5, samples_every=2, samples=3))
    folder = root / "runs/language/samples"
    assert sorted(path.name for path in folder.glob("*.jsonl")) == [f"step-0000000{step}.jsonl" for step in (2, 4, 5)]
    asked = [json_lines(path) for path in sorted(folder.glob("*.jsonl"))]
    assert [[line["id"] for line in lines] for lines in asked] == [["image-0", "image-7", "video-3"]] * 3
    assert asked[0][1]["reference"] == "A green image."
    assert asked[0][1]["prompt"].endswith("Describe the image. ASSISTANT:")
    assert all((folder / f"{line['sample']}.jpg").is_file() for line in asked[0])


def test_sample_captions_stop_at_the_end_of_the_template_and_at_that_of_all_texts(root: Path) -> None:
    """`</s>` (2) ends texts of this tokenizer, and `vicuna` answers too; another template's end comes before it."""
    from aurora_cli.pipeline.train.captions.prompts import end_ids_of

    store = next(path.parent for path in sorted((root / "tokenized").rglob("manifest.json")))
    assert end_ids_of(alone(root), store) == [2]
    (root / "qwen").mkdir()
    FAMILIES["qwen, base"](root / "qwen")
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {"tokenizer": "qwen"}))
    chosen = alone(root)
    chosen = chosen.model_copy(update={"tokenize": chosen.tokenize.model_copy(update={"template": "qwen2"})})
    vocabulary = load_tokenizer(root / "qwen").backend
    assert end_ids_of(chosen, store) == [vocabulary.token_to_id("<|im_end|>"), vocabulary.token_to_id("<|endoftext|>")]


@pytest.mark.slow
def test_tensorboards_files_hold_the_lines_of_metrics(root: Path) -> None:
    train.run(alone(root, max_steps=3))
    (events,) = (root / "runs/language/tensorboard").glob("events*")
    content = events.read_bytes()
    assert content.count(b"grad_norm") == content.count(b"tokens_per_s") == 3


@pytest.mark.parametrize(
    ("tracker", "said"), [("paper", "'paper' is no tracker"), ("aim", "train.trackers: aim is not installed")]
)
def test_a_tracker_that_is_not_there_is_told_before_the_run(tracker: str, said: str, root: Path) -> None:
    with pytest.raises(UsageError, match=said):
        train.run(alone(root, trackers=[tracker]))
    assert not (root / "runs").exists()


@pytest.mark.slow
def test_checkpoints_are_copied_to_another_folder_whole_and_pruned_there(root: Path, tmp_path: Path) -> None:
    chosen = alone(root, max_steps=6)
    elsewhere = chosen.checkpoint.model_copy(update={"copy_to": str(tmp_path / "safe")})
    train.run(chosen.model_copy(update={"checkpoint": elsewhere}))
    copies = {path.name: path for path in (tmp_path / "safe/language").iterdir()}
    assert sorted(copies) == ["step-00000004", "step-00000006"]
    for name, copy in copies.items():
        original = root / "runs/language/checkpoints" / name
        files = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
        assert files == sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
        assert all((copy / file).read_bytes() == (original / file).read_bytes() for file in files)


@pytest.mark.slow
def test_checkpoints_are_copied_into_a_bucket_and_another_machine_goes_on_with_the_newest(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copies = f"memory://copies-{tmp_path.name}"
    chosen = alone(root, max_steps=6)
    elsewhere = chosen.checkpoint.model_copy(update={"copy_to": copies})
    train.run(chosen.model_copy(update={"checkpoint": elsewhere}))
    shutil.rmtree(root / "runs/language/checkpoints")  # what a network began with is made or fetched before
    train.run(alone(root, max_steps=8, resume=f"{copies}/language"))
    assert [line["step"] for line in lines(root)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "said"), [(1.0, "the loss jumped to .* from about"), (1e20, "is nan|is inf")])
def test_a_loss_that_jumps_or_is_no_number_stops_the_run_and_names_samples_and_checkpoint(
    lr: float, said: str, root: Path
) -> None:
    with pytest.raises(DataError, match=rf"step 2: .*({said}).* its samples: \[\d+, ") as caught:
        train.run(alone(root, max_steps=4, max_loss_jump=0.01, language_model={"lr": lr}))
    assert "Nothing has been saved yet" in str(caught.value)
    assert caught.value.exit_code == 3
    assert [line["step"] for line in lines(root)] == [1]


def reaching(root: Path, positions: int, **text: Any) -> Settings:
    """A stage whose language model has so many positions, on samples of up to 96 tokens."""
    requested = alone(root, max_steps=1)
    model = requested.model
    assert model.text_config is not None
    changed = {**model.text_config, "max_position_embeddings": positions, **text}
    return requested.model_copy(update={"model": model.model_copy(update={"text_config": changed})})


def longest(root: Path) -> int:
    from aurora_cli.pipeline.train.build_data import plan_data
    from aurora_cli.pipeline.train.estimate.network import config_of
    from aurora_cli.pipeline.train.plan import plan_stage

    requested = alone(root)
    return int(plan_data(plan_stage(requested), config_of(requested)).corpus.lengths.max())


@pytest.mark.slow
def test_samples_longer_than_the_model_has_positions_are_refused_with_both_numbers(root: Path) -> None:
    most = longest(root)
    with pytest.raises(UsageError, match=rf"up to {most}, and max_position_embeddings reaches {most - 1}") as caught:
        train.run(reaching(root, most - 1))
    assert f"train.pack_tokens={most - 1}" in str(caught.value.hint)
    planned = reaching(root, most - 1)
    estimate = train.run(planned.model_copy(update={"train": planned.train.model_copy(update={"plan": True})}))
    assert any(f"max_position_embeddings reaches {most - 1}" in line for line in estimate.lines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("less", "rope", "warned"),
    [(0, None, False), (1, {"type": "linear", "factor": 2.0}, False), (1, {"type": "dynamic", "factor": 2.0}, True)],
)
def test_samples_that_fit_the_positions_as_they_are_stretched_are_trained_on(
    less: int, rope: dict[str, Any] | None, warned: bool, root: Path
) -> None:
    class Noting(Reporter):
        def warning(self, message: str) -> None:
            warnings.append(message)

    warnings: list[str] = []
    text = {} if rope is None else {"rope_scaling": rope}
    train.run(reaching(root, longest(root) - less, **text), Noting())
    assert [True for message in warnings if "stretch themselves" in message] == [True] * warned


@pytest.mark.slow
@pytest.mark.parametrize("where", ["build_network", "Trainer"])
def test_memory_that_does_not_suffice_is_exit_4_with_what_to_type(
    where: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(f"aurora_cli.pipeline.train.run.{where}", too_much)
    with pytest.raises(
        HostError, match=r"stage 'language': CUDA out of memory\. Tried to allocate 2\.00 GiB"
    ) as caught:
        train.run(alone(root, max_steps=1))
    assert caught.value.exit_code == 4
    assert "aurora train --stage language --plan" in str(caught.value.hint)
    assert "train.pack_tokens=" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("removed", "hint"),
    [
        (["tokenized/language/*/merged"], "aurora merge-shards"),
        (["tokenized"], "aurora tokenize --split language"),
        (["tokenized", "data"], "aurora download --split language"),
    ],
)
def test_missing_data_names_the_command_that_makes_it(removed: list[str], hint: str, root: Path) -> None:
    for pattern in removed:
        for path in list(root.glob(pattern)):
            shutil.rmtree(path)
    with pytest.raises(DataError) as caught:
        train.run(alone(root))
    assert hint in str(caught.value)
    assert not (root / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"data": ["tokenized/nowhere"]}, DataError, "no such folder of merged shards"),
        ({"data": ["data/language/images"]}, DataError, "no token store"),
        ({"after": "vision"}, DataError, "aurora train --stage vision"),
        ({"init_from": "runs/nowhere"}, DataError, "there is no such folder"),
        ({"resume": "runs/nowhere"}, DataError, "is not a checkpoint"),
        ({"global_batch_packs": 6, "micro_batch_packs": 4}, UsageError, "train.micro_batch_packs"),
        ({"deepspeed": "zero9"}, UsageError, "zero2_offload"),
        ({"projector": None, "vision_tower": None, "language_model": None}, UsageError, "trains nothing"),
        ({"lora": {"vision_tower": {}}, "vision_tower": None}, UsageError, "train.vision_tower.lr=1e-4"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_touched(
    changes: dict[str, Any], error: type[Exception], said: str, root: Path
) -> None:
    with pytest.raises(error) as caught:
        train.run(alone(root, **changes))
    assert said in str(caught.value)
    assert not (root / "runs").exists()


def test_adapters_for_a_layer_that_is_not_there_are_refused_with_the_names_that_are(root: Path) -> None:
    with pytest.raises(UsageError, match="'c_attn' is no linear layer of it") as caught:
        train.run(alone(root, lora={"language_model": {"targets": ["c_attn"]}}))
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(caught.value)


def test_ids_beyond_the_models_vocabulary_are_refused_by_name(root: Path) -> None:
    given = alone(root)
    small = given.model.model_copy(update={"text_config": {**given.model.text_config, "vocab_size": 512}})
    with pytest.raises(UsageError, match="its highest id is 670, the language model has 512 embeddings"):
        train.run(given.model_copy(update={"model": small}))


def test_a_dry_run_shows_settings_and_launch_and_touches_nothing(root: Path) -> None:
    before = snapshot(root)
    result = train.run(alone(root, num_processes=2), dry_run=True)
    text = "\n".join(result.lines())
    assert result.did == "dry run"
    assert "RANK=1 LOCAL_RANK=1 WORLD_SIZE=2" in text
    assert f"-m aurora_cli.pipeline.train {root / 'runs/language/config.yaml'}" in text
    assert "global_batch_packs: 4" in text
    assert snapshot(root) == before


def test_a_dry_run_in_an_empty_workspace_says_what_is_missing(tmp_path: Path) -> None:
    result = train.run(alone(tmp_path), dry_run=True)
    assert result.problem is not None
    assert result.lines()[-1].startswith(
        f"But: {tmp_path / 'tokenized' / 'language'}: has no merged shards to train on"
    )
    assert "Begin with: aurora download" in result.lines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_is_a_file_is_a_usage_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match=r"train\.run_dir: .* is a file, where a folder was expected"):
        train.run(alone(root, run_dir=tmp_path / "run"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", r"nowhere: there is no such folder, and no such indexed archive$"),
        ("media.tar", r"media\.tar: is neither a folder nor a tar with an index\naurora extract --layout index \S+"),
    ],
)
def test_media_that_lie_nowhere_are_said_before_anything_is_begun_and_in_a_dry_run(
    given: str, said: str, root: Path
) -> None:
    (root / "media.tar").touch()
    before = snapshot(root)
    chosen = alone(root, media_root=given)
    with pytest.raises(DataError, match=rf"train\.media_root: \S+{said}"):
        train.run(chosen)
    dry = train.run(chosen, dry_run=True)
    assert dry.problem is not None
    assert "train.media_root" in dry.problem
    assert dry.exit_code == 3
    assert snapshot(root) == before
    (root / "media.tar.index").touch()
    dry = train.run(alone(root, media_root="media.tar"), dry_run=True)
    assert dry.problem is None


@pytest.mark.parametrize("folder", ["data/language/images", "tokenized/language/images/merged", "."])
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_folder_of_something_else_is_refused_as_a_runs(folder: str, resume: str, root: Path) -> None:
    before = snapshot(root)
    with pytest.raises(UsageError, match=r"train\.run_dir: .* holds something else than a run"):
        train.run(alone(root, run_dir=folder, resume=resume))
    assert snapshot(root) == before


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_file_was_whole_may_begin_again(root: Path) -> None:
    (root / "runs/language").mkdir(parents=True)
    (root / "runs/language/.lock").write_text("aurora train (process 12)")  # as versions before 0.3 left it
    (root / "runs/language/.config.yaml.partial").touch()
    assert train.run(alone(root, max_steps=1)).did == "trained"


@pytest.mark.slow
def test_the_checkpoint_says_what_it_is_and_where_the_rest_comes_from(root: Path) -> None:
    train.run(settings(root, "projection", max_steps=2))
    folder = root / "runs/projection/checkpoints/step-00000002"
    said = json.loads((folder / "checkpoint.json").read_text())
    assert said["base"] == "runs/projection/initial"
    assert said["trained"] == ["projector"]
    assert (said["schema"], said["stage"], said["step"], said["steps"]) == (1, "projection", 2, 2)
    assert said["merging"]["kept_ratio"] == 0.5
    assert (root / "runs/projection/checkpoints/latest").read_text().strip() == folder.name
    assert json.loads((root / "runs/projection/finished.json").read_text())["order_hash"] == said["order_hash"]
