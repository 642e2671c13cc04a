"""A `huggingface` export where only transformers, torch and pillow are installed: it loads, and says what we say."""

import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import aurora_cli
from aurora_cli.config.merging import TokenMerging
from aurora_cli.pipeline.convert.command import run
from tests.captioners import GOLDEN, MODEL, ROOT, TOKENIZER, convert_settings, make_runs

INSTALLED = ("torch", "transformers", "pillow")

SCRIPT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else self.finder.find_spec(name, path, target)

refused = set(sys.argv[5].split(","))
sys.meta_path[:] = map(Without, sys.meta_path)

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder, remote = sys.argv[1], sys.argv[3] == "remote"
image = Image.open(sys.argv[2])
image.load()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=remote)
model, info = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=remote, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"], info
assert not any(name.partition(".")[0] in refused for name in sys.modules)
chat = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What?"}]}]
inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
extra = {"token_kept_ratio": 1.0} if remote else {}
with torch.no_grad():
    logits = model(**inputs, **extra).logits[0, -1]
    merged = model(**inputs).logits.shape[1] if remote else None
answers = model.generate(**inputs, **extra, max_new_tokens=4, do_sample=False)
assert processor.batch_decode(answers)[0].startswith("<s>USER: <image>")
texts = ["USER: <image>\\nWhat? ASSISTANT:", "USER: <image>\\nWhat is it now? ASSISTANT:"]
two = processor(images=[image, image], text=texts, padding=True, return_tensors="pt")
pair = model.generate(**two, **extra, max_new_tokens=4, do_sample=False)
result = {
    "logits": logits,
    "new": answers[0, inputs["input_ids"].shape[1]:].tolist(),
    "in a pair": pair[0, two["input_ids"].shape[1]:].tolist(),
    "merged": merged,
    "class": type(model).__name__,
}
if remote:
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, token_kept_ratio=0.25)
    text = "USER: <image> <image> <image>\\nWhat? ASSISTANT:"
    video = processor(images=[image] * 3, text=text, media_lengths=[3])
    result["video"] = model(**video).logits.shape[1] - video["input_ids"].shape[1]
    beams = model.generate(**video, max_new_tokens=4, num_beams=3, num_return_sequences=2, return_dict_in_generate=True)
    result["beams"] = beams.sequences.shape[1] - video["input_ids"].shape[1], len(beams.sequences)
torch.save(result, sys.argv[4])
"""

CLASSES = {"plain": "LlavaForConditionalGeneration", "remote": "AuroraCapForImageTextToText"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    run(convert_settings(root, format="huggingface", verify=False))
    return root


def packages_of_others() -> str:
    """Names to import of everything that is installed here and that `INSTALLED` does not bring."""
    needed, todo = {"coverage"}, list(INSTALLED)  # `make coverage` has it in every process
    while todo:
        name = canonicalize_name(todo.pop())
        if name in needed:
            continue
        needed.add(name)
        try:
            requirements = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue
        todo += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return ",".join(
        module
        for module, owners in {**metadata.packages_distributions(), "aurora_cli": ["aurora-cli"]}.items()
        if not any(canonicalize_name(owner) in needed for owner in owners)
    )


def say(python: Path | str, workspace: Path, mode: str, refused: str = "") -> dict:
    """What the export says in a process of its own."""
    image, out = GOLDEN / "pixels" / "images" / "im_120x160.png", workspace / f"{mode}.pt"
    (workspace / "plain.py").write_text(SCRIPT)
    words = [str(python), "-I", "plain.py", "export/huggingface", str(image), mode, str(out), refused]
    environment = os.environ | {"HF_HOME": str(workspace / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(out)


def check(found: dict, mode: str, workspace: Path) -> None:
    """Against our own model, loaded from the run."""
    from aurora_cli.data.media.reader import load_frames
    from aurora_cli.data.tokenization.tokenizer import load_tokenizer

    model = aurora_cli.load_model(workspace / "runs" / "language", token_merging=TokenMerging(kept_ratio=1.0))
    tokenizer = load_tokenizer(TOKENIZER)
    ids = [1, *tokenizer.encode("USER: "), -200, *tokenizer.encode("\nWhat? ASSISTANT:")]
    image = GOLDEN / "pixels" / "images" / "im_120x160.png"
    inputs = {
        "input_ids": torch.tensor([ids]),
        "pixel_values": load_frames(image, 1, 56, MODEL.image_mean, MODEL.image_std),
    }
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    assert found["class"] == CLASSES[mode]
    torch.testing.assert_close(found["logits"][:671], logits, atol=1e-5, rtol=0)
    answer = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0].tolist()
    assert found["new"] == found["in a pair"] == answer
    if mode == "remote":
        assert found["merged"] == len(ids) - 1 + 8  # 16 patches, half of them kept
        assert found["video"] == 3 * 4 - 3
        assert found["beams"] == (4, 2)


@pytest.mark.parametrize("mode", ["plain", "remote"])
def test_with_every_other_package_refused_the_export_says_what_we_say(workspace, mode):
    refused = packages_of_others()
    assert {"aurora_cli", "accelerate", "datasets", "deepspeed"} <= set(refused.split(","))
    assert not {"torch", "transformers", "PIL", "numpy"} & set(refused.split(","))
    check(say(sys.executable, workspace, mode, refused), mode, workspace)


@pytest.mark.soak
def test_a_new_environment_with_these_three_packages_says_what_we_say(workspace, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints" / "cpu.txt")]
    subprocess.run([str(python), "-m", "pip", "install", "-q", *pins, *INSTALLED], check=True)
    for mode in CLASSES:
        check(say(python, workspace, mode), mode, workspace)
