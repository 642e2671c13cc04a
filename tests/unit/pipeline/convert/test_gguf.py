"""A language model in GGUF becomes a folder of transformers: same logits, same ids, same template.

The files are written by the package `gguf`; where it is not installed, what needs them skips itself.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers

from aurora_cli.cli.app import run as aurora
from aurora_cli.errors import UsageError
from aurora_cli.export.from_gguf import with_split
from aurora_cli.pipeline.own_parts import LANGUAGE_MODEL
from tests.own_parts import with_weights
from tests.tokenizer_families import CHATML
from tests.unit.pipeline.test_own_parts import derived

TEXTS = (
    "A cat sits on a red mat.",
    "2 cats and  12 dogs, 365 days",
    "naïve\n\n  two   7s",
    "<|im_start|>user\nHi<|im_end|>\n",
)
DIGITS = [
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False),
]
"""How SmolLM2's own tokenizer.json cuts."""


def write_gguf(folder: Path, file: Path, *, pre: str = "smollm", bits: str = "F32") -> None:
    """The language model of a folder as llama.cpp keeps it; queries and keys by its rule for Llama."""
    gguf = pytest.importorskip("gguf", reason="writes the files of this test")
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids = {**tokenizer["model"]["vocab"], **special}
    tokens = sorted(ids, key=lambda token: ids[token])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    writer: Any = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("a small one")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(special["<|im_start|>"])
    writer.add_eos_token_id(special["<|im_end|>"])
    writer.add_pad_token_id(special["<|im_end|>"])
    writer.add_unk_token_id(special["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        short = names.get_name(name, try_suffixes=(".weight",))
        if (count := heads.get(short.split(".")[-2])) is not None:
            tensor = tensor.unflatten(0, (count, 2, -1)).transpose(1, 2).flatten(0, 2).contiguous()
        values = tensor.numpy()
        kind = gguf.GGMLQuantizationType[bits if tensor.ndim == 2 else "F32"]
        writer.add_tensor(short, gguf.quantize(values, kind) if bits != "F32" else values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model whose tokenizer cuts as SmolLM2's does."""
    _, language = with_weights(tmp_path_factory.mktemp("language"))
    backend = Tokenizer.from_file(str(language / "tokenizer.json"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(DIGITS)
    backend.save(str(language / "tokenizer.json"))
    return language


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(4, 40)[None]).logits


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "bound"), [("F32", 1e-5), ("Q8_0", 0.05)])
def test_the_folder_computes_and_cuts_as_the_model_that_the_file_was_made_of(
    bits: str, bound: float, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gguf(folder, tmp_path / "small.gguf", bits=bits)
    made = tmp_path / "language"
    assert aurora(["convert", str(tmp_path / "small.gguf"), str(made), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["verified"], said["notes"], said["format"]) == (True, True, [], "huggingface")
    expected, found = logits(folder), logits(made)
    assert float((expected - found).abs().max()) <= bound * float(expected.abs().max())
    one, other = (Tokenizer.from_file(str(at / "tokenizer.json")) for at in (folder, made))
    for text in TEXTS:
        assert other.encode(text, add_special_tokens=False).ids == one.encode(text, add_special_tokens=False).ids
    assert (made / "chat_template.jinja").read_text() == CHATML
    config = json.loads((made / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"]) == ("<|im_start|>", "<|im_end|>")

    assert aurora(["convert", str(tmp_path / "small.gguf"), str(made)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    own = derived(tmp_path, tower=with_weights(tmp_path)[0], language=made)
    assert (own.value("tokenize.template"), own.value("tokenize.max_length")) == ("tokenizer", 4096)


@pytest.mark.slow
def test_a_tokenizer_of_which_nobody_knows_how_it_cuts_is_not_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gguf(folder, tmp_path / "small.gguf", pre="of-tomorrow")
    assert aurora(["convert", str(tmp_path / "small.gguf"), str(tmp_path / "language")]) == 0
    assert "how its tokenizer cuts texts ('of-tomorrow') is not known here" in capsys.readouterr().out
    assert not (tmp_path / "language" / "tokenizer.json").exists()


@pytest.mark.slow
def test_a_damaged_file_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(folder, tmp_path / "small.gguf")
    content = (tmp_path / "small.gguf").read_bytes()
    (tmp_path / "small.gguf").write_bytes(content[: len(content) // 3])
    assert aurora(["convert", str(tmp_path / "small.gguf"), str(tmp_path / "language")]) == 3
    assert "small.gguf: cannot be read as a language model in GGUF" in capsys.readouterr().err
    assert not (tmp_path / "language").exists()


@pytest.mark.parametrize("pre", ["smollm", "starcoder"])
def test_digits_are_cut_one_by_one(pre: str) -> None:
    backend = Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}')
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert with_split(backend, pre)
    cut: Any = backend.pre_tokenizer
    assert [piece for piece, _ in cut.pre_tokenize_str("a  42")] == ["a", "ĠĠ", "4", "2"]


def test_how_a_text_is_cut_is_known_by_name_or_by_what_transformers_set() -> None:
    plain = Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}')
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert [with_split(plain, pre) for pre in ("gpt-2", None, "default", "of-tomorrow")] == [True, True, False, False]
    plain.pre_tokenizer = pre_tokenizers.Sequence(DIGITS)
    assert with_split(plain, "of-tomorrow")


@pytest.mark.slow
def test_a_file_in_place_of_a_folder_is_named_with_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.Q4_1.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=r"small\.Q4_1\.gguf: is a GGUF file") as caught:
        derived(tmp_path, "model.vision_config=null", language=file, tower=with_weights(tmp_path)[0])
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"aurora convert {file} small.Q4_1 ")
    assert LANGUAGE_MODEL in caught.value.message
    assert aurora(["convert", str(file)]) == 2
    assert f"aurora convert {file} small.Q4_1" in capsys.readouterr().err
    assert aurora(["convert", str(file), "out", "--format", "official"]) == 2
