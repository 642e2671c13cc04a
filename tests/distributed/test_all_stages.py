"""`aurora train --stage all`, as a user types it, from a tower and a language model that lie in folders."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from aurora_cli.cli.app import run
from tests.distributed import tiny_workspace
from tests.own_parts import with_weights

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]
QUICK = {
    "max_steps": 2,
    "micro_batch_packs": 1,
    "global_batch_packs": 2,
    "samples_every": 0,
    "deepspeed": "none",
    "trackers": [],
    "num_processes": 1,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with annotations and parts, and nothing in its settings that says what the parts are."""
    root = tmp_path_factory.mktemp("prepared")
    for stage in tiny_workspace.STAGES:
        tiny_workspace.make(root, stage, images=6, videos=2, texts=2)
    shutil.rmtree(root / "tokenized")
    with_weights(root)
    settings = {"preset": "tiny", "train": QUICK, "data": {"workers": 0}, "tokenize": {"clip_subsets": ["videos"]}}
    (root / "aurora.yaml").write_text(yaml.safe_dump(settings))
    parts = ["--vision-tower", "siglip", "--language-model", "smollm", "--workspace", str(root)]
    assert run(["tokenize", "--quiet", *parts]) == 0
    assert run(["merge-shards", "--quiet", "--workspace", str(root)]) == 0
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "workspace"))


def train(root: Path, *arguments: str) -> list[str]:
    parts = ["--vision-tower", "siglip", "--language-model", "smollm"]
    return [sys.executable, "-m", "aurora_cli", "train", "--workspace", str(root), "--stage", "all", *parts, *arguments]


def test_texts_are_written_in_the_language_models_own_template(prepared: Path) -> None:
    manifests = [json.loads(file.read_text()) for file in prepared.glob("tokenized/*/*/merged/manifest.json")]
    assert {manifest["template"] for manifest in manifests} == {"tokenizer"}


def test_every_stage_runs_from_the_one_before_and_a_second_call_has_nothing_to_do(root: Path) -> None:
    done = subprocess.run(train(root, "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    stages = said["stages"]
    assert said["report"] == str(root / "runs/report.html")
    assert Path(said["report"]).read_text().count("2 of 2") >= len(stages)
    assert [(one["stage"], one["step"], one["did"]) for one in stages] == [
        ("projection", 2, "trained"),
        ("vision", 2, "trained"),
        ("language", 2, "trained"),
    ]
    assert [one["start"] for one in stages[1:]] == [
        "runs/projection/checkpoints/step-00000002",
        "runs/vision/checkpoints/step-00000002",
    ]
    model = json.loads((root / "runs/language/checkpoints/step-00000002/checkpoint.json").read_text())["model"]
    assert (model["image_size"], model["image_mean"], model["vision_config"]) == (56, [0.5, 0.4, 0.3], None)

    before = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*.safetensors")}
    again = subprocess.run(train(root), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("all 2 steps are done; nothing to do") == 3
    assert {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*.safetensors")} == before

    # Without the parts' names a later stage knows them from the weights.
    alone = [sys.executable, "-m", "aurora_cli", "train", "--workspace", str(root), "--stage", "language"]
    last = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert "nothing to do" in last.stdout


def test_a_stop_says_which_stage_goes_on_and_the_same_command_does(root: Path) -> None:
    process = subprocess.Popen(train(root, "--max-steps", "100000"), stderr=subprocess.PIPE, text=True)
    metrics = root / "runs" / "projection" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "The same command goes on with stage projection; then come vision, language." in said

    steps = int((root / "runs/projection/checkpoints/latest").read_text().strip().removeprefix("step-"))
    arguments = train(root, "--max-steps", str(steps + 1), "--json")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["stages"][0]
    assert (first["resumed_from"], first["step"]) == (steps, steps + 1)


def test_a_stage_without_data_is_found_before_the_first_one_begins(root: Path) -> None:
    shutil.rmtree(root / "tokenized" / "language")
    done = subprocess.run(train(root), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "error: stage 'language': " in done.stderr
    assert not (root / "runs").exists()


def test_a_dry_run_and_a_plan_take_the_stages_before_for_trained(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train(root, "--json")[3:]
    assert run([*arguments, "--dry-run"]) == 0
    planned = json.loads(capsys.readouterr().out)["stages"]
    assert [one["start"] for one in planned[1:]] == ["runs/projection", "runs/vision"]
    assert not any(one["problem"] for one in planned)
    assert run([*arguments, "--plan"]) == 0
    assert [one["data"]["steps"] for one in json.loads(capsys.readouterr().out)["stages"]] == [2, 2, 2]
    assert not (root / "runs").exists()


def test_two_processes_go_through_all_stages_and_epochs_that_are_shorter_than_a_step(root: Path) -> None:
    """The second process begins with the epoch after the one that the first is in."""
    arguments = train(root, "--num-processes", "2", "--max-steps", "3", "--json")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)["stages"]
    assert [(one["stage"], one["step"], one["processes"]) for one in stages] == [
        ("projection", 3, 2),
        ("vision", 3, 2),
        ("language", 3, 2),
    ]


def test_a_launcher_is_told_how_to_start_all_stages(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    assert run(train(root)[3:]) == 2
    said = capsys.readouterr().err
    assert "torchrun has started this one" in said
    assert "aurora train --stage all --num-processes 2" in said
    assert "  ... train --stage vision\n" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run-dir", "runs/x"), "each of projection, vision, language needs its own"),
        (("--resume", "runs/x"), "is of one stage"),
    ],
)
def test_what_is_of_one_stage_is_refused(
    arguments: tuple[str, ...], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*train(root)[3:], *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "family"), [("smollm2-135m", "smollm2"), ("qwen3-0.6b", "qwen2"), ("qwen3-4b", "qwen2")]
)
def test_the_presets_train_models_of_their_architectures(
    preset: str, family: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Their last stage, where most is trained, from small random models."""
    tiny_workspace.make(tmp_path, "language", images=4, videos=2, texts=2)
    shutil.rmtree(tmp_path / "tokenized")
    with_weights(tmp_path, family, layers=8)
    parts = ["--vision-tower", "siglip", "--language-model", "smollm", "--workspace", str(tmp_path), "--preset", preset]
    assert run(["tokenize", "--quiet", *parts, "--set", "tokenize.clip_subsets=videos"]) == 0
    assert run(["merge-shards", "--quiet", "--workspace", str(tmp_path)]) == 0
    short = [f"--set=train.{setting}" for setting in ("max_steps=1", "after=null", "samples_every=0", "trackers=[]")]
    assert run(["train", "--stage", "language", *parts, *short, "--set", "data.workers=0", "--num-processes", "1"]) == 0
    metadata = json.loads((tmp_path / "runs/language/checkpoints/step-00000001/checkpoint.json").read_text())
    assert set(metadata["trained"]) == {"projector", "vision_tower", "language_model"}
    assert list(metadata["lora"]) == (["language_model"] if preset == "qwen3-4b" else [])
    capfd.readouterr()


def test_features_are_kept_where_the_tower_is_frozen_and_left_out_elsewhere(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Meant for all stages it is for those that can; meant for one that cannot it is refused."""
    keep = ["--vision-tower", "siglip", "--language-model", "smollm", "--set", "train.cache_features=true", "--dry-run"]
    assert run(["train", "--workspace", str(root), "--stage", "all", "--json", *keep]) == 0
    shown = capsys.readouterr()
    stages = json.loads(shown.out)["stages"]
    assert [one["settings"]["train"]["cache_features"] for one in stages] == [True, False, False]
    assert "stage vision trains the vision tower (train.vision_tower.lr is 0.0002): it keeps no features" in shown.err
    assert shown.err.count("it keeps no features") == 2
    assert run(["train", "--workspace", str(root), "--stage", "vision", *keep]) == 2
    assert "train.cache_features: stage 'vision' trains the vision tower" in capsys.readouterr().err
