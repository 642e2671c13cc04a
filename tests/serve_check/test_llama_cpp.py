"""llama.cpp captions with the files of `aurora convert --format gguf` as aurora does with nothing merged, id for id.

Skips itself where llama-cpp-python or gguf is not installed; `make serve-check` installs them.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gguf", reason="writes the files")
pytest.importorskip("llama_cpp", reason="runs them")

from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.export.tokenizer import copy_tokenizer
from aurora_cli.pipeline.convert.command import run
from tests.captioners import TOKENIZER
from tests.serve_check import trained
from tests.serve_check.beside_llama_cpp import QUESTION, Shares, compared
from tests.serve_check.trained import FRAMES
from tests.tokenizer_families import SENTENCEPIECE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the binding leaves /dev/null open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MEDIA = 50
RANDOM_MEDIA = 10
TIE = 0.01
TOKENS = 8
SIZES = {"image_size": 56, "patch_size": 14, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
TOWERS: dict[str, Any] = {
    "clip": {"model_type": "clip_vision_model", "num_hidden_layers": 4, "initializer_range": 0.2, **SIZES},
    "siglip": {"model_type": "siglip_vision_model", "num_hidden_layers": 4, **SIZES},
}
LANGUAGE = {
    "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.2,
}  # fmt: skip
LANGUAGES: dict[str, Any] = {
    "llama": {"model_type": "llama", **LANGUAGE, "bos_token_id": 1, "eos_token_id": 2},
    "smollm2": {"model_type": "llama", **LANGUAGE, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2},
    "qwen2": {"model_type": "qwen2", **LANGUAGE, "bos_token_id": 1, "eos_token_id": 2},
    "qwen3": {"model_type": "qwen3", **LANGUAGE, "head_dim": 32, "bos_token_id": 1, "eos_token_id": 2},
}


def captioner(
    folder: Path,
    tower: str,
    language: str,
    *,
    image_size: int = 56,
    tower_config: Mapping[str, Any] = MappingProxyType({}),
    **text: Any,
) -> Path:
    """A captioner with random weights that spread its logits, unless configs say another range."""
    from aurora_cli.pipeline.train.build_model import write_initial

    mean = (0.5,) * 3 if tower == "siglip" else ModelSettings().image_mean
    tokenizer = Path(text.pop("tokenizer", TOKENIZER))
    model = ModelSettings(
        tokenizer=str(tokenizer),
        image_size=image_size,
        image_mean=mean,
        image_std=mean,
        vision_config={**TOWERS[tower], **tower_config},
        text_config={"vocab_size": 671, **LANGUAGES[language], **text},
    )
    write_initial(folder / "captioner", Settings(workspace=folder, model=model))
    copy_tokenizer(tokenizer, folder / "captioner")
    return folder / "captioner"


def written(model: Path, folder: Path, quantization: Any = "f16") -> tuple[Path, Any]:
    convert = ConvertSettings(
        checkpoint=str(model), output=folder / "gguf", format="gguf", quantization=quantization, verify=True
    )
    result = run(Settings(workspace=folder, convert=convert))
    assert result.verified, (result.notes, result.differences)
    return Path(result.output), result


@pytest.fixture(
    scope="module",
    params=[("clip", "llama"), ("siglip", "qwen2"), ("clip", "qwen2"), ("siglip", "llama")],
    ids="-".join,
)
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner that was trained."""
    tower, language = request.param
    folder = tmp_path_factory.mktemp("-".join(request.param))
    model = captioner(folder, tower, language, tower_config={"initializer_range": 0.02}, initializer_range=0.02)
    trained.train(model, QUESTION)
    return model


def pictures(side: int, frames: int) -> list[list[np.ndarray]]:
    """Noise in blocks, which a tower tells apart."""
    random = np.random.default_rng(side + frames)
    blocks = random.integers(0, 256, (RANDOM_MEDIA, frames, 7, 7, 3), dtype=np.uint8)
    return [[*np.kron(each, np.ones((1, side // 7, side // 7, 1), np.uint8))] for each in blocks]


def assert_equal_but_for_ties(shares: Shares) -> None:
    """Random weights, computed in halves: where ids part, the two tokens were as likely but for a hundredth."""
    assert shares.equal >= shares.media / 2
    assert max(shares.ties, default=0.0) < TIE, shares


@pytest.mark.parametrize("frames", [1, FRAMES], ids=["images", "videos"])
def test_images_and_videos_get_the_ids_of_aurora_caption(learnt: Path, frames: int, tmp_path: Path) -> None:
    files, _ = written(learnt, tmp_path)
    shares = compared(learnt, files, trained.held_out(MEDIA, frames))
    print(f"{learnt.parent.name}, {frames} frames, f16: {shares.equal} of {shares.media}, {shares.captions} captions")
    assert shares.equal == shares.media, shares
    assert shares.captions > MEDIA // 2  # what is compared, media decide


@pytest.mark.parametrize("frames", [1, FRAMES], ids=["images", "videos"])
def test_blocks_of_8_bits_are_near_and_the_share_is_stated(learnt: Path, frames: int, tmp_path: Path) -> None:
    files, _ = written(learnt, tmp_path, "q8_0")
    shares = compared(learnt, files, trained.held_out(MEDIA, frames))
    print(f"{learnt.parent.name}, {frames} frames, q8_0: {shares.equal} of {shares.media}")
    assert shares.equal > 0.8 * shares.media, shares


@pytest.mark.parametrize(("tower", "language"), [("siglip", "smollm2"), ("siglip", "qwen3"), ("clip", "qwen3")])
def test_random_weights_of_other_kinds_give_the_ids_but_for_ties(tower: str, language: str, tmp_path: Path) -> None:
    model = captioner(tmp_path, tower, language)
    files, result = written(model, tmp_path)
    assert [each.what for each in result.differences][-2:] == [
        "an image, nothing merged, by llama.cpp", "a video, nothing merged, by llama.cpp",
    ]  # fmt: skip
    for frames in (1, FRAMES):
        shares = compared(model, files, pictures(56, frames), max_new_tokens=TOKENS)
        print(f"{tower} {language}, {frames} frames, f16: {shares.equal} of {shares.media}, ties {shares.ties}")
        assert_equal_but_for_ties(shares)


def test_four_bits_are_made_by_llama_cpp_and_load(tmp_path: Path) -> None:
    files, result = written(captioner(tmp_path, "siglip", "llama", hidden_size=256), tmp_path, "q4_k_m")
    assert [file.name for file in files.glob("model-*")] == ["model-q4_k_m.gguf"]
    assert [each.what for each in result.differences][-1] == "a video, nothing merged, by llama.cpp"


@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_positions_of_larger_images_are_those_of_training(tower: str, tmp_path: Path) -> None:
    model = captioner(tmp_path, tower, "llama", image_size=84)
    files, _ = written(model, tmp_path)
    shares = compared(model, files, pictures(84, 1), max_new_tokens=TOKENS)
    assert_equal_but_for_ties(shares)


def test_sentencepieces_tokens_are_joined_as_in_training(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(SENTENCEPIECE.read_bytes())
    model = captioner(tmp_path, "siglip", "llama", tokenizer=folder, vocab_size=32_000)
    files, _ = written(model, tmp_path)
    shares = compared(model, files, pictures(56, 2), max_new_tokens=TOKENS)
    assert_equal_but_for_ties(shares)


def test_its_own_chat_handler_asks_by_the_template_of_the_file(tmp_path: Path) -> None:
    """llama-cpp-python's server: an image as a data URI beside the words of a message."""
    import base64
    import io

    import llama_cpp
    from llama_cpp.llama_chat_format import MTMDChatHandler
    from PIL import Image

    import aurora_cli
    from aurora_cli.config.merging import TokenMerging

    model = captioner(tmp_path, "siglip", "llama")
    files, _ = written(model, tmp_path)
    handler = MTMDChatHandler(clip_model_path=str(files / "mmproj-f16.gguf"), verbose=False, use_gpu=False)
    llama = llama_cpp.Llama(str(files / "model-f16.gguf"), chat_handler=handler, n_ctx=512, verbose=False, n_threads=1)
    (frame,) = pictures(56, 1)[0]
    png = io.BytesIO()
    Image.fromarray(frame).save(png, "PNG")
    url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    said = llama.create_chat_completion([{"role": "user", "content": content}], temperature=0, max_tokens=16)
    merging = TokenMerging(kept_ratio=1.0)
    ours = aurora_cli.load_captioner(model, token_merging=merging, device="cpu", dtype="float32")
    (caption,) = ours.caption([frame], prompt="What is it?", max_new_tokens=16)
    written_out = said["choices"][0]["message"]["content"].strip()
    assert written_out.replace("\ufffd", "") == caption.caption.replace(
        "\ufffd", ""
    )  # halves of letters, left out there
