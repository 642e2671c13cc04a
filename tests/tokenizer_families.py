"""Small tokenizers of the kinds that language models come with: they cut, mark and add as those do."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from aurora_cli.data.tokenization.sentencepiece import build_backend
from aurora_cli.data.tokenization.tokenizer import load_tokenizer

SENTENCEPIECE = Path(__file__).parent / "golden" / "tokenize" / "mistral_v1" / "tokenizer.model"
TEXTS = [
    "Describe the image in detail. What is in the video? More? Sure, 1 and 2; (x) are there!",
    "A cat sits on a red mat. No. The dog runs to the left, and then it stops.",
    "USER: hello ASSISTANT: yes [INST] [/INST] user assistant system model\n\nTwo lines\nof text.",
]
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_WITH_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe good.<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + "
    "m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QUESTIONS_AND_ANSWERS = (
    "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n"
    "{% else %}ANSWER{{ m.content }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASKED{% endif %}"
)


def _asking(asked: str, before_answer: str) -> str:
    """A template that asks with these words, and writes those before answers."""
    return QUESTIONS_AND_ANSWERS.replace("ANSWER", before_answer).replace("ASKED", asked)


ODD_TEMPLATES = {
    "a space after the prompt": _asking("A: ", "A: "),
    "two spaces after the prompt": _asking("A:  ", "A:  "),
    "a space that is not asked with": _asking("A:", "A: "),
    "a space and a line after the prompt": _asking("A: \n", "A: \n"),
    "words before an answer": _asking("A: ", "A: Sure-"),
    "half a word before an answer": _asking("A: ", "A: Su"),
    "glued": _asking("A:", "A:"),
    "glued to a bracket": _asking("(", "("),
    "nothing asked with": _asking("", "A: "),
    "no line between": "{% for m in messages %}{{ m.content }}{{ ' ' if m.role == 'user' else eos_token }}{% endfor %}",
    "nothing between": "{% for m in messages %}{{ m.content }}{{ eos_token if m.role != 'user' }}{% endfor %}",
    "trimmed": _asking("A: ", "A: ").replace("m.content", "m.content | trim"),
    "trimmed on the left": _asking("A:\n", "A:\n").replace("m.content", "m.content.lstrip('\n')"),
    "a system turn of its own": ("{% if messages[0].role != 'system' %}Be good.\n{% endif %}" + _asking("A: ", "A: ")),
    "generation tags": (
        "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %} {{ m.content }}{{ eos_token }}"
        "{% endgeneration %}\n{% else %}Q: {{ m.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A: {% endif %}"
    ),
    "an empty think block": (
        "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}"
        "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}\n"
        "{%- for m in messages %}\n    {%- if m.role == 'assistant' %}\n        {%- set content = m.content %}\n"
        "        {%- set thought = '' %}{%- if '</think>' in content %}"
        "{%- set thought = content.split('</think>')[0].split('<think>')[-1] %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}\n"
        "        {%- if loop.index0 > ns.last and (loop.last or thought) %}\n"
        "            {{- '[assistant]\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}\n"
        "            {{- content.lstrip('\\n') }}\n"
        "        {%- else %}\n            {{- '[assistant]\\n' + content }}\n        {%- endif %}\n"
        "        {{- eos_token + '\\n' }}\n    {%- else %}\n"
        "        {{- '[' + m.role + ']\\n' + m.content + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n    {{- '[assistant]\\n' }}\n"
        "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
        "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}\n"
    ),
}
"""Chat templates that ask otherwise than they write answers, or end a prompt where a token does not."""

INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def sentencepiece(folder: Path, **config: object) -> None:
    """A bare `tokenizer.model`, as Llama 2, Vicuna and Mistral 7B were published."""
    shutil.copy(SENTENCEPIECE, folder / "tokenizer.model")
    _configure(folder, bos="<s>", eos="</s>", unk="<unk>", chat=INSTRUCT, **config)


def saved_again(folder: Path) -> None:
    """The same as transformers 5 saves it: only the beginning of a whole text is marked."""
    backend = build_backend(SENTENCEPIECE.read_bytes(), {"legacy": False})
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<s>", eos="</s>", unk="<unk>", chat=INSTRUCT)


def phi3(folder: Path) -> None:
    """Llama's pieces, and tokens around turns that take the white space behind them."""
    backend = build_backend(SENTENCEPIECE.read_bytes(), {})
    backend.add_tokens(
        [
            AddedToken(token, special=True, normalized=False, rstrip=True)
            for token in ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
        ]
    )
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<s>", eos="<|endoftext|>", unk="<unk>", pad="<|endoftext|>", chat=PHI)


def gemma3(folder: Path) -> None:
    """Spaces are letters, nothing is marked and nothing cut; a BOS in front of every text."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    backend.train_from_iterator(
        [text.replace("\n", "\n ") for text in TEXTS],
        trainers.BpeTrainer(vocab_size=700, special_tokens=[*special, *letters], show_progress=False),
    )
    backend = _with_special(Tokenizer.from_str(_without_added(backend)), special)
    _begin_with(backend, "<bos>")
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<bos>", eos="<eos>", pad="<pad>", unk="<unk>", chat=GEMMA)


def llama3(folder: Path) -> None:
    special = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    backend = _byte_level(special)
    _begin_with(backend, "<|begin_of_text|>")
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<|begin_of_text|>", eos="<|eot_id|>", chat=LLAMA3)


def qwen2(folder: Path) -> None:
    _byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>")).save(str(folder / "tokenizer.json"))
    _configure(folder, bos=None, eos="<|im_end|>", pad="<|endoftext|>", chat=CHATML_WITH_SYSTEM)


def qwen_base(folder: Path) -> None:
    """As `qwen2`, but its texts end with another token than its chats."""
    _byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>")).save(str(folder / "tokenizer.json"))
    _configure(folder, bos=None, eos="<|endoftext|>", pad="<|endoftext|>", chat=CHATML_WITH_SYSTEM)


def smollm2(folder: Path) -> None:
    """Its BOS is the token that begins a turn."""
    _byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>")).save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<|im_start|>", eos="<|im_end|>", pad="<|im_end|>", unk="<|endoftext|>", chat=CHATML)


def word_pieces(folder: Path) -> None:
    """As BERT's: lower case, no white space, words cut at punctuation; tokens of its own around a text."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    ends = [(token, backend.token_to_id(token)) for token in special[2:]]
    backend.post_processor = processors.BertProcessing(ends[1], ends[0])
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="[CLS]", eos="[SEP]", unk="[UNK]", pad="[PAD]", chat=INSTRUCT)


def with_prefix_space(folder: Path) -> None:
    """As RoBERTa's and BART's: a space in front of every text, and offsets without the space of a token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    backend = _with_special(backend, ("<s>", "<pad>", "</s>", "<unk>"))
    ends = [(token, backend.token_to_id(token)) for token in ("</s>", "<s>")]
    backend.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=True)
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos="<s>", eos="</s>", unk="<unk>", pad="<pad>", chat=INSTRUCT)


def always_marking(folder: Path) -> None:
    """As T5's: the likeliest cut, a mark in front of every text, one space for several; no BOS."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<pad>", "</s>", "<unk>"]
    backend.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos=None, eos="</s>", unk="<unk>", pad="<pad>", chat=INSTRUCT.replace("{{ bos_token }}", ""))


def swallowing(folder: Path) -> None:
    """As `qwen2`, but its tokens take the white space before or behind them."""
    backend = _byte_level(())
    tokens = [
        AddedToken("<|endoftext|>", special=True, normalized=False, lstrip=True, rstrip=True),
        AddedToken("<|im_start|>", special=True, normalized=False, rstrip=True),
        AddedToken("<|im_end|>", special=True, normalized=False, lstrip=True),
    ]
    backend.add_special_tokens(tokens)
    backend.save(str(folder / "tokenizer.json"))
    _configure(folder, bos=None, eos="<|im_end|>", pad="<|endoftext|>", chat=CHATML)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "llama": sentencepiece,
    "llama, not legacy": lambda folder: sentencepiece(folder, legacy=False),
    "llama, saved again": saved_again,
    "phi3": phi3,
    "gemma3": gemma3,
    "llama3": llama3,
    "qwen2": qwen2,
    "qwen, base": qwen_base,
    "smollm2": smollm2,
}

ODD_FAMILIES: dict[str, Callable[[Path], None]] = {
    "word pieces": word_pieces,
    "prefix space": with_prefix_space,
    "always marking": always_marking,
    "swallowing": swallowing,
}
"""Of kinds that few captioners are made with."""

TEMPLATES_OF = {
    "qwen2": ("qwen2", "qwen, base", "smollm2"),
    "llama3": ("llama3",),
}
"""Templates of these families; all others go with every family, which is given the tokens that they name."""


def add_tokens(folder: Path, tokens: Sequence[str]) -> None:
    """Make them special tokens of the tokenizer in the folder, as far as it has them not."""
    backend = load_tokenizer(folder).backend
    new = [token for token in dict.fromkeys(tokens) if backend.token_to_id(token) is None]
    if not new:
        return
    if (folder / "tokenizer.json").exists():
        _with_special(backend, tuple(new)).save(str(folder / "tokenizer.json"))
        return
    path, first = folder / "tokenizer_config.json", backend.get_vocab_size()
    listed = {str(first + number): {"content": token, "special": True} for number, token in enumerate(new)}
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_tokens_decoder": listed}))


def _byte_level(special: tuple[str, ...]) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=sorted(alphabet), show_progress=False)
    )
    return _with_special(backend, special)


def _with_special(backend: Tokenizer, special: tuple[str, ...]) -> Tokenizer:
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return backend


def _without_added(backend: Tokenizer) -> str:
    form = json.loads(backend.to_str())
    form["added_tokens"] = []
    return json.dumps(form)


def _begin_with(backend: Tokenizer, token: str) -> None:
    backend.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, backend.token_to_id(token))]
    )


def _configure(folder: Path, *, bos: str | None, eos: str, chat: str, **more: object) -> None:
    named = {f"{name}_token": more.pop(name) for name in ("pad", "unk") if name in more}
    config = {"bos_token": bos, "eos_token": eos, **named, "chat_template": chat, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
