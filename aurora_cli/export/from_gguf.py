"""A language model in a GGUF file to a folder of transformers, which is what training reads.

transformers reads the file, with the package `gguf`, and makes floats of blocks of a few bits. Two things are done here
that it does not do. It refuses to save what it read. And it passes over how some tokenizers cut a text before they
merge pairs (`tokenizer.ggml.pre`): SmolLM2's takes digits one by one, and without that "two  7" has other ids.

Source of the names: llama.cpp, `src/llama-vocab.cpp`, where each has its regular expressions.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aurora_cli.checkpoints.facts import LogitComparison
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.errors import AuroraError, DataError, HostError
from aurora_cli.models.supported import check_language_model

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

GPT2_SPLIT = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais"})
DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
"""Vocabularies of bytes by `tokenizer.ggml.pre`: texts are cut as GPT-2's are; digits one by one besides."""

NO_TOKENIZER = (
    "how its tokenizer cuts texts ({pre!r}) is not known here, so none was written: put the model's own tokenizer.json "
    "and tokenizer_config.json into the folder"
)
_HEAD = "lm_head.weight"
_PROBE = tuple(range(3, 19))
"""Ids that are in every vocabulary."""


class GGUFModel(NamedTuple):
    """What transformers made of the file."""

    file: Path
    model: Any
    tokenizer: Any
    pre: str | None
    """`tokenizer.ggml.pre`; none: a vocabulary that needs none."""

    @property
    def tensors(self) -> Tensors:
        """By transformers' names; a head that is the embedding once more is left out."""
        tied = bool(self.model.config.tie_word_embeddings)
        return {
            name: LazyTensor(self.file, name, tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor)
            for name, tensor in self.model.state_dict().items()
            if not (tied and name == _HEAD)
        }


def open_gguf(file: Path) -> GGUFModel:
    """The language model in a file, in memory, in float32.

    Raises:
        HostError: the package `gguf`, or a transformers that reads such files by itself, is missing.
        UsageError: the network cannot be made of this kind.
        DataError: the file is damaged.
    """
    try:
        import gguf  # noqa: F401
        from transformers.integrations.gguf.reader import read_gguf_metadata
    except ImportError as error:
        raise HostError(
            f"{file}: {error.name or 'gguf'} is not installed, which GGUF files need",
            hint="pip install 'aurora-cli[gguf]'",
        ) from error
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    named: Any = {"gguf_file": file.name}
    try:
        metadata, _ = read_gguf_metadata(str(file))
        config = AutoConfig.from_pretrained(file.parent, **named)
        check_language_model(str(file), config.to_dict())
        named["quantization_config"] = GgufConfig(dequantize=True)
        with contextlib.redirect_stderr(io.StringIO()):  # bars
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **named)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except AuroraError:
        raise
    except Exception as error:  # of a damaged file any kind comes up; of an unknown one ValueErrors
        raise DataError(f"{file}: cannot be read as a language model in GGUF: {error}") from error
    return GGUFModel(file, model, tokenizer, metadata.get("tokenizer.ggml.pre"))


def write_language_model(
    gguf: GGUFModel,
    folder: Path,
    *,
    dtype: "torch.dtype | None",
    safe: bool,
    max_shard_bytes: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Write config, weights and tokenizer; what a user should know of it."""
    model = gguf.model
    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    config |= {"architectures": [type(model).__name__], "dtype": str(dtype or model.dtype).removeprefix("torch.")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    model.generation_config.save_pretrained(folder)
    tensors = {name: tensor.cast(dtype) for name, tensor in gguf.tensors.items()}
    write_weights(folder, tensors, safe=safe, max_shard_bytes=max_shard_bytes, advance=advance)
    if not with_split(gguf.tokenizer.backend_tokenizer, gguf.pre):
        return [NO_TOKENIZER.format(pre=gguf.pre)]
    gguf.tokenizer.save_pretrained(folder)
    return []


def with_split(backend: "Tokenizer", pre: str | None) -> bool:
    """Make a tokenizer cut texts as its file says; False: how that is is not known, and the ids may be others.

    transformers has set what it knows; where it knows nothing, bytes are cut as GPT-2's are.
    """
    from tokenizers import pre_tokenizers

    if pre in DIGITS_APART:
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
        return True
    stated: Any = json.loads(backend.to_str())["pre_tokenizer"] or {}
    return pre is None or pre in GPT2_SPLIT or stated.get("type") != "ByteLevel"


def compare(gguf: GGUFModel, folder: Path, bound: float) -> LogitComparison:
    """Logits of a few ids by what was read and by what was written, as a share of the largest.

    Raises:
        DataError: the folder cannot be loaded, or a weight is missing in it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if open_weights(folder).keys() != gguf.tensors.keys():
        raise DataError(f"{folder}: holds other tensors than {gguf.file}")
    with contextlib.redirect_stderr(io.StringIO()):
        again: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[one % gguf.model.config.vocab_size for one in _PROBE]])
    with torch.no_grad():
        expected, found = (model.eval()(input_ids=ids).logits for model in (gguf.model, again))
    difference = float((expected - found).abs().max())
    return LogitComparison("a text", difference, bound * max(1.0, float(expected.abs().max())))
