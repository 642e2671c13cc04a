"""vLLM with the plugin writes what `aurora caption` writes, id for id. Skips itself where vLLM is not installed.

`make serve-check` installs vLLM for CPUs into an environment of its own, and runs this there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from aurora_cli.captioning.caption_stream import Read
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import caption_inputs
from tests.serve_check.captions import (
    NEW_TOKENS,
    Media,
    Served,
    chat_about,
    ids_of_caption,
    make_served,
    share_equal,
    write,
)

# Not imported: it sets variables of this process.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make serve-check"),
]

RATIOS = (1.0, 0.5, 0.1)
CPUS = sorted(os.sched_getaffinity(0))
ENGINE = Path(__file__).parent / "vllm_engine.py"


PAIRS = ("clip-llama-56", "clip-qwen2-84", "siglip-llama-56", "siglip-qwen2-84", "dinov2-llama-56")


@pytest.fixture(scope="module", params=PAIRS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Images of 84 pixels are larger than those that the tower was made for."""
    tower, language, side = request.param.split("-")
    return make_served(tmp_path_factory.mktemp(request.param), tower, language, image_size=int(side))


def call(chats: list[Any], kept_ratio: float | None = None, **changes: object) -> dict[str, Any]:
    changes |= {} if kept_ratio is None else {"token_kept_ratio": kept_ratio}
    return {"chats": chats, "changes": changes, "new_tokens": NEW_TOKENS}


def engine(
    folder: Path,
    export: Path,
    calls: list[Any],
    variables: Mapping[str, str] = MappingProxyType({}),
    **arguments: object,
) -> list[Any]:
    """What an engine answers to each call; `variables` of its environment are set for it."""
    values = {"model": str(export), "dtype": "float32", "max_model_len": 1024, "max_num_seqs": 16, **arguments}
    jobs = write(folder / "jobs.json", {"engine": values, "calls": calls})
    out = folder / "out.json"
    child = subprocess.run(
        [sys.executable, str(ENGINE), str(jobs), str(out)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return json.loads(out.read_text())


def ids(answers: list[dict[str, Any]]) -> list[list[int]]:
    return [answer["ids"] for answer in answers]


def test_images_and_videos_have_the_ids_of_caption_at_every_kept_ratio(
    served: Served, media: Media, tmp_path: Path
) -> None:
    about = {kind: [chat_about(served.captioner, path) for path in getattr(media, kind)] for kind in media._fields}
    wanted = [(ratio, kind) for ratio in RATIOS for kind in media._fields]
    # The first once more at the end: all that one engine keeps of an image, it keeps by the kept ratio.
    calls = [call(about[kind], ratio, slowfast=True) for ratio, kind in [*wanted, *wanted[:2]]]
    answers = engine(tmp_path, served.export, calls)
    expected = [ids_of_caption(served.captioner, getattr(media, kind), ratio, True) for ratio, kind in wanted]
    shares = {
        pair: share_equal(ids(found), right) for pair, found, right in zip(wanted, answers, expected, strict=False)
    }
    print(served.name, shares)
    assert shares == dict.fromkeys(wanted, 1.0)
    assert [ids(found) for found in answers[6:]] == [ids(found) for found in answers[:2]]
    assert all(answer["cached"] > 0 for answer in answers[7])  # an image's prompt is shorter than a block of 128
    assert all(len(set(map(tuple, right))) > len(right) // 2 for right in expected)  # what is compared, media decide
    for (ratio, kind), found in zip(wanted, answers, strict=False):
        options = served.captioner.options.changed({"token_kept_ratio": ratio, "slowfast": True})
        asked_about = "video" if kind == "videos" else "image"
        assert {answer["prompt"] for answer in found} == {served.captioner.prompt_tokens(asked_about, options)}


def test_chunks_that_cut_a_video_and_one_ratio_for_the_server_change_nothing(
    plain: Served, media: Media, tmp_path: Path
) -> None:
    videos, captioner = media.videos[:12], plain.captioner
    chats = [chat_about(captioner, path) for path in videos]
    calls = [call(chats), call(chats), call(chats, 1.0)]
    answers = engine(
        tmp_path, plain.export, calls, max_num_batched_tokens=32, max_num_seqs=4,
        mm_processor_kwargs={"token_kept_ratio": 0.1},
    )  # fmt: skip
    assert [ids(found) for found in answers[:2]] == [ids_of_caption(captioner, videos, 0.1)] * 2
    assert ids(answers[2]) == ids_of_caption(captioner, videos, 1.0)


@pytest.mark.skipif(len(CPUS) < 2, reason="there is one processor, and vLLM wants one for each rank")
def test_two_ranks_that_share_the_language_model_have_the_ids_of_caption(
    plain: Served, media: Media, tmp_path: Path
) -> None:
    captioner, few = plain.captioner, Media(media.images[:20], media.videos[:20])
    wanted = [(ratio, kind) for ratio in RATIOS for kind in few._fields]
    calls = [call([chat_about(captioner, path) for path in getattr(few, kind)], ratio) for ratio, kind in wanted]
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "|".join(map(str, CPUS[:2]))}  # by itself it wants a NUMA node for each rank
    answers = engine(tmp_path, plain.export, calls, bound, tensor_parallel_size=2)
    expected = [ids_of_caption(captioner, getattr(few, kind), ratio) for ratio, kind in wanted]
    assert [ids(found) for found in answers] == expected


def test_images_and_videos_in_one_prompt_and_what_is_refused(plain: Served, media: Media, tmp_path: Path) -> None:
    captioner = plain.captioner
    both = [(image, video) for image, video in zip(media.images[:8], media.videos[:8], strict=True)]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(media.videos[0].read_bytes()[:200])
    calls = [
        call([chat_about(captioner, *pair) for pair in both], 0.5),
        call([chat_about(captioner, media.images[0])], 0.01),
        call([chat_about(captioner, media.images[0])], ratio=0.5),
        call([chat_about(captioner, broken)]),
        call([chat_about(captioner, media.images[0])], 0.5),
    ]
    answers = engine(tmp_path, plain.export, calls)
    assert ids(answers[0]) == [mixed(captioner, *pair) for pair in both]
    assert "kept ratio 0.01, which is 0 of 16 tokens" in answers[1]
    assert "'ratio' is none of token_kept_ratio, slowfast, frames" in answers[2]
    assert "not a readable video" in answers[3]
    assert ids(answers[4]) == ids_of_caption(captioner, media.images[:1], 0.5)


def mixed(captioner: Captioner, image: Path, video: Path) -> list[int]:
    """The new ids about an image and a video, by the network itself."""
    options = captioner.options.changed({"token_kept_ratio": 0.5})
    first, second = (captioner.read(each, options) for each in caption_inputs([image, video]))
    assert isinstance(first, Read)
    assert isinstance(second, Read)
    frames = len(second.frames_F3SS)
    prompt = captioner.prompter.ids(options.clip_prompt, 1 + frames)
    out = captioner.model.generate(
        input_ids=torch.tensor([prompt]),
        pixel_values=torch.cat([first.frames_F3SS, second.frames_F3SS]),
        media_lengths=[1, frames],
        merging=options.merging,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=captioner.prompter.end_ids,
        pad_token_id=0,
        suppress_tokens=captioner.never,
        do_sample=False,
    )
    ends = captioner.prompter.end_ids
    row = out[0].tolist()
    return row[: next((at for at, token in enumerate(row) if token in ends), len(row))]


def test_without_the_plugin_it_is_llava_and_merges_nothing(plain: Served, media: Media, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="vLLM's own LLaVA imports torchvision, whose PyPI build is CUDA's")
    images = [path for path in media.images[:12] if path.suffix == ".png"]
    answers = engine(
        tmp_path, plain.export, [call([chat_about(plain.captioner, path) for path in images])], {"VLLM_PLUGINS": ""}
    )
    options = plain.captioner.options.changed({"token_kept_ratio": 1.0})
    assert {answer["prompt"] for answer in answers[0]} == {plain.captioner.prompt_tokens("image", options)}
    # Its image processor resizes by torchvision, a level aside here and there.
    assert share_equal(ids(answers[0]), ids_of_caption(plain.captioner, images, 1.0)) >= 0.5
