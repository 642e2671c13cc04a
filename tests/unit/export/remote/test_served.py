"""The model under LLaVA's name: what `AutoModelForMultimodalLM` loads, and so `transformers serve`."""

import ast
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from aurora_cli.export.remote import bundle
from aurora_cli.pipeline.convert.command import run
from tests.captioners import GOLDEN, convert_settings, make_runs

IMAGES = sorted((GOLDEN / "pixels" / "images").glob("*.png"))
START_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    return Path(run(convert_settings(root, format="huggingface", verify=False)).output)


def test_the_file_imports_the_model_beside_it_and_nothing_else_of_ours():
    tree = ast.parse(bundle.served_source())
    (imported,) = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert (imported.level, imported.module) == (1, "modeling_aurora")
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == ["LlavaForConditionalGeneration"]
    assert "aurora_cli" not in bundle.served_source()


def test_a_module_with_more_imports_of_ours_is_an_error(monkeypatch):
    text = "from aurora_cli.export.remote.model import A\nfrom aurora_cli.constants import IMAGE\n"
    monkeypatch.setattr(bundle, "_source", lambda module: text)
    with pytest.raises(ValueError, match=r"imports more of ours than aurora_cli\.export\.remote\.model"):
        bundle.served_source()


def question(path: Path) -> list[dict[str, Any]]:
    content = [{"type": "image", "path": str(path)}, {"type": "text", "text": "What is this?"}]
    return [{"role": "user", "content": content}]


def answers(model: Any, folder: Path) -> list[list[int]]:
    from transformers import AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    found = []
    for path in IMAGES:
        inputs = processor.apply_chat_template(
            question(path), tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
        )
        with torch.no_grad():
            found.append(model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :].tolist())
    return found


@pytest.mark.slow
def test_it_is_llava_by_name_and_merges_as_the_other_class_does(folder):
    from transformers import AutoModelForImageTextToText, AutoModelForMultimodalLM

    plain = AutoModelForMultimodalLM.from_pretrained(folder)
    served, info = AutoModelForMultimodalLM.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(served).__name__ == type(plain).__name__ == "LlavaForConditionalGeneration"
    assert type(served) is not type(plain)
    ours = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    assert answers(served, folder) == answers(ours, folder)
    pixels = torch.randn(1, 3, 56, 56)
    ids = torch.tensor([[1, served.config.image_token_id, 5]])
    assert served(input_ids=ids, pixel_values=pixels).logits.shape[1] == 2 + 8  # of 16 patches
    assert type(AutoModelForMultimodalLM.from_pretrained(folder)) is type(plain)  # and the plain one stays what it was


@pytest.mark.slow
@torch.no_grad()
def test_the_carried_tower_and_projector_compile_as_one_graph(folder):
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    module, pixels = model.frame_tokens(token_kept_ratio=0.25), torch.randn(2, 3, 56, 56)
    assert module(pixels).shape == (2, 4, 32)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pixels), module(pixels), atol=1e-6, rtol=0)


def chat(url: str, model: Path, path: Path) -> dict[str, Any]:
    image = io.BytesIO()
    Image.open(path).save(image, "PNG")
    data = "data:image/png;base64," + base64.b64encode(image.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": data}}, {"type": "text", "text": "What is this?"}]
    body = {"model": str(model), "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("fastapi", "uvicorn", "openai")),
    reason="pip install 'transformers[serving]'",
)
def test_transformers_serve_merges(folder, tmp_path):
    """A real process on loopback: every caption is that of the merging class, and prompts are counted unmerged."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "from transformers.cli.transformers import main; main()"
    words = ["serve", str(folder), "--trust-remote-code", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-c", command, *words], env=environment, stdout=out, stderr=out)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
        found = [chat(url, folder, path)["choices"][0]["message"]["content"] for path in IMAGES]
    finally:
        server.terminate()
        server.wait(30)
    processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    assert found == processor.batch_decode(answers(model, folder), skip_special_tokens=True)
