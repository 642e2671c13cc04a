"""The Python API captions as the command does, and takes what lies in memory."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import aurora_cli
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.loading import slow_dtype
from aurora_cli.captioning.options import options_of
from aurora_cli.captioning.result import Uncaptioned
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.resolve import resolve
from aurora_cli.console import Reporter
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, SettingsError, UsageError
from aurora_cli.models.positions import Positions
from aurora_cli.pipeline.caption.command import run
from aurora_cli.pipeline.convert.command import run as convert
from tests.captioners import GOLDEN, caption_settings, convert_settings, make_runs

MEDIA = ["clip.mp4", "image.png", "walk"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, an image, a video and a folder of five frames."""
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    shutil.copy(GOLDEN / "pixels" / "images" / "im_120x160.png", root / "image.png")
    shades = [Image.new("RGB", (64, 48), (40 * number, 250 - 40 * number, 90)) for number in range(5)]
    (root / "clip.mp4").write_bytes(encode_video(shades))
    (root / "walk").mkdir()
    for number, shade in enumerate(shades):
        shade.save(root / "walk" / f"frame_{number}.png")
    return root


@pytest.fixture(scope="module")
def captioner(workspace: Path) -> Captioner:
    return aurora_cli.load_captioner(workspace / "runs" / "language", device="cpu")


@pytest.mark.parametrize(
    ("dtype", "flags", "is_slow"),
    [
        ("float32", {"avx2"}, False),
        ("bfloat16", {"avx2", "avx512f"}, True),
        ("bfloat16", {"avx2", "amx_bf16"}, False),
        ("bfloat16", {"avx512_bf16"}, False),
        ("float16", {"amx_bf16", "avx512_bf16"}, True),
        ("float16", {"avx512_fp16"}, False),
        ("float16", set(), False),  # no x86, or not told
    ],
)
def test_a_processor_without_instructions_for_a_type_is_warned_of(
    workspace: Path, dtype: str, flags: set[str], is_slow: bool
) -> None:
    captioner = aurora_cli.load_captioner(workspace / "runs" / "language", dtype=dtype, device="cpu")
    assert captioner.dtype == dtype
    warning = slow_dtype(captioner, frozenset(flags))
    assert (warning is not None and f"no instructions for {dtype}" in warning) == is_slow


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"token_kept_ratio": 0.25, "frames": 3, "slowfast": True},
        {"temperature": 2.0, "top_p": 0.9, "seed": 3, "batch_size": 2},
        {"num_beams": 2, "batch_size": 1},
    ],
)
def test_captions_are_those_of_the_command(
    captioner: Captioner, workspace: Path, monkeypatch: pytest.MonkeyPatch, options: dict
) -> None:
    monkeypatch.chdir(workspace)
    captions = captioner.caption(MEDIA, max_new_tokens=8, **options)
    settings = caption_settings(workspace, *MEDIA, model="runs/language", max_new_tokens=8, **options)
    expected = run(settings).captions
    assert [each.caption for each in captions] == [each.caption for each in expected]
    for one, other in zip(captions, expected, strict=True):
        assert (one.media, one.kind, one.frames) == (other.media, other.kind, other.frames)
        assert (one.visual_tokens, one.prompt_tokens, one.new_tokens) == (
            other.visual_tokens,
            other.prompt_tokens,
            other.new_tokens,
        )


def test_rows_that_no_token_has_are_never_written(captioner: Captioner, workspace: Path) -> None:
    """As in a huggingface export. Of two rows that point opposite ways one is the likeliest after any text."""
    (expected,) = captioner.caption([workspace / "image.png"], max_new_tokens=6)
    padded = aurora_cli.load_captioner(workspace / "runs" / "language", device="cpu")
    head = padded.model.lm_head
    apart = 1e4 * torch.randn(1, head.weight.shape[1], generator=torch.Generator().manual_seed(0))
    head.weight = torch.nn.Parameter(torch.cat([head.weight.detach(), apart, -apart]))
    padded.model.config.text_config.vocab_size += 2
    padded = Captioner(padded.model, padded.tokenizer, padded.image_settings, padded.options)
    (caption,) = padded.caption([workspace / "image.png"], max_new_tokens=6)
    assert (caption.caption, caption.new_tokens) == (expected.caption, expected.new_tokens)


def test_a_prompt_or_a_caption_beyond_the_positions_is_refused_or_warned_of(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this model an image is 8 tokens, half of 4 x 4 patches; a video of 3 frames 24."""
    options = captioner.options.changed({"frames": 3, "max_new_tokens": 10})
    image, video = captioner.prompt_tokens("image", options), captioner.prompt_tokens("video", options)
    text = captioner.caption([Image.new("RGB", (9, 9))], max_new_tokens=1)[0].prompt_tokens
    assert image == text + 8
    monkeypatch.setattr(captioner, "positions", Positions(video + 10, extrapolates=False))
    assert captioner.check_positions(["image", "video"], options) == []
    monkeypatch.setattr(captioner, "positions", Positions(video + 9, extrapolates=False))
    (warning,) = captioner.check_positions(["image", "video"], options)
    assert f"a video has {video} tokens" in warning
    assert "the first 9 tokens alone" in warning
    monkeypatch.setattr(captioner, "positions", Positions(video, extrapolates=False))
    with pytest.raises(UsageError, match=f"a video has {video} tokens.*reaches {video}"):
        captioner.check_positions(["video", "image"], options)


@pytest.mark.slow
def test_one_question_is_asked_about_images_and_videos(captioner: Captioner, workspace: Path) -> None:
    media = [workspace / "image.png", workspace / "clip.mp4"]
    longer = captioner.caption(media, prompt="What is it? Be brief.", frames=1, max_new_tokens=2)
    shorter = captioner.caption(media, prompt="What is it?", frames=1, max_new_tokens=2)
    assert longer[0].prompt_tokens == longer[1].prompt_tokens > shorter[0].prompt_tokens


def test_what_lies_in_memory_is_captioned_as_its_files_are(captioner: Captioner, workspace: Path) -> None:
    frame_files = sorted((workspace / "walk").iterdir())
    frames = [Image.open(file).convert("RGB") for file in frame_files]
    image = Image.open(workspace / "image.png").convert("RGB")
    (of_image, of_folder) = captioner.caption([workspace / "image.png", workspace / "walk"], max_new_tokens=8)
    in_memory = [image, np.asarray(image), frame_files, frames, np.stack([np.asarray(each) for each in frames])]
    captions = captioner.caption(in_memory, max_new_tokens=8)
    assert [each.media for each in captions] == [f"media[{number}]" for number in range(5)]
    assert [each.kind for each in captions] == ["image", "image", "video", "video", "video"]
    assert [each.caption for each in captions] == [of_image.caption] * 2 + [of_folder.caption] * 3
    assert [each.visual_tokens for each in captions] == [8, 8, 64, 64, 64]
    assert captions[2].tokens_per_frame == 8


def test_a_medium_that_cannot_be_read_raises_or_is_handed_over(captioner: Captioner, workspace: Path) -> None:
    media = [str(workspace / "gone.png"), str(workspace / "image.png")]
    with pytest.raises(DataError, match=r"gone\.png: there is no such file"):
        captioner.caption(media, max_new_tokens=2)
    failures: list[Uncaptioned] = []
    captions = captioner.caption(media, max_new_tokens=2, on_error=failures.append)
    assert [each.media for each in captions] == media[1:]
    assert failures == [Uncaptioned(media[0], "there is no such file")]


@pytest.mark.parametrize(
    ("media", "options", "message"),
    [
        ("image.png", {}, "a list was expected, not a str alone"),
        ([3], {}, r"media\[0\]: is 3; a path, an image"),
        ([[]], {}, r"media\[0\]: is \[\]; a path"),
        ([["a.png", 3]], {}, "a path, an image"),
        ([np.zeros((4, 4, 3))], {}, r"an array \(4, 4, 3\) of float64"),
        ([np.zeros((4, 4), np.uint8)], {}, r"an array \(4, 4\) of uint8"),
        (["image.png"], {"token_kept_ratio": 1.5}, "token_kept_ratio is 1.5"),
        (["image.png"], {"frames": 0}, "frames is 0"),
        (["image.png"], {"batch_size": 0}, "batch_size is 0"),
        (["image.png"], {"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_what_cannot_be_is_a_usage_error_that_names_it(captioner: Captioner, media, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        captioner.caption(media, **options)


def test_a_kept_ratio_that_the_tower_cannot_reach_names_the_least(captioner: Captioner, workspace: Path) -> None:
    with pytest.raises(SettingsError, match="2 layers keep at least 4 of them"):
        captioner.caption([workspace / "image.png"], token_kept_ratio=0.01)


def test_merging_and_tokenizer_of_the_call_are_taken(workspace: Path) -> None:
    merging = aurora_cli.TokenMerging(kept_ratio=0.25)
    captioner = aurora_cli.load_captioner(workspace / "runs" / "language", token_merging=merging, device="cpu")
    assert captioner.caption([workspace / "image.png"], max_new_tokens=1)[0].visual_tokens == 4
    with pytest.raises(DataError, match="nothing"):
        aurora_cli.load_captioner(workspace / "runs" / "language", tokenizer="nothing", device="cpu")


@pytest.mark.parametrize("placeholder", ["<image>", "<video>"])
def test_a_question_holds_no_placeholder(captioner: Captioner, workspace: Path, placeholder: str) -> None:
    with pytest.raises(UsageError, match=f"prompt: holds {placeholder}") as caught:
        captioner.caption([workspace / "image.png"], prompt=f"{placeholder}\nWhat?")
    assert "Leave it out" in (caught.value.hint or "")
    for name in ("prompt", "clip_prompt"):
        settings = caption_settings(workspace, "image.png", model="runs/language", **{name: f"What? {placeholder}"})
        with pytest.raises(UsageError, match=rf"caption\.{name}: holds {placeholder}"):
            run(settings)


def test_a_question_holds_no_special_token(captioner: Captioner, workspace: Path) -> None:
    with pytest.raises(UsageError, match=r"holds </s>, a special token"):
        captioner.caption([workspace / "image.png"], prompt="What is </s>?")


FOREIGN = (
    "{% for m in messages %}{{ m.role | upper }}: {% for part in m.content %}{% if part.type == 'image' %}<image>\n"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""As llava-hf's folders have it: no special tokens, the tokenizer puts BOS in front."""


@pytest.mark.slow
def test_a_llava_of_others_is_asked_in_its_own_chat_template(workspace: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = Path(
        convert(convert_settings(workspace, format="huggingface", verify=False, output=tmp_path / "a")).output
    )
    (folder / "aurora.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": FOREIGN}))
    captioner = aurora_cli.load_captioner(folder, device="cpu")
    assert captioner.options.template == "tokenizer"
    ids = captioner.prompter.ids("What is it?", 1)
    plain = AutoTokenizer.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    text = plain.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=FOREIGN, tokenize=False, add_generation_prompt=True
    )
    image_id = plain.convert_tokens_to_ids("<image>")
    assert [image_id if token == -200 else token for token in ids] == plain(text)["input_ids"]
    assert ids[0] == plain.bos_token_id
    # A preset says a template too, for what is trained by it; only a user's word stands against the folder's own.
    for sets, template in (([], "tokenizer"), (["tokenize.template=vicuna"], "vicuna")):
        said = resolve({"workspace": ("--workspace", str(workspace)), "preset": ("--preset", "tiny")}, sets).settings
        options = options_of(open_checkpoint(folder), said.caption, said.tokenize, said.data)
        assert options.template == template
    converted = convert(convert_settings(workspace, checkpoint=str(folder), verify=False, output=tmp_path / "b"))
    assert "brings its own chat template; this export asks by the template vicuna" in converted.notes[0]
    told = Told()
    run(caption_settings(workspace, "image.png", model=converted.output, max_new_tokens=1), told)
    assert "does not say which template it was trained with; vicuna is used" in told.text


class Told(Reporter):
    text = ""

    def info(self, message: str) -> None:
        self.text += message
