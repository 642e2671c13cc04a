"""Trains the tokenizer of the `tiny` preset: byte-level BPE in which the demo's words are one token each.

    python tests/tiny_tokenizer.py            # writes presets/tiny/tokenizer/

Every byte is in the vocabulary, so that any text comes back as it went in. The post-processor puts `<s>` in front, as
Llama's does, so that a prompt given to plain transformers looks as it did in training.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

FOLDER = Path(__file__).parents[1] / "presets" / "tiny" / "tokenizer"
VOCABULARY_SIZE = 700
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}

WORDS = """
red green blue yellow white black purple orange circle square triangle cross star ring heart diamond
left right top bottom up down middle centre corner upper lower
picture image video clip frame shape shapes colour background place
moves moving move goes stays still is are does has see shows there
a an the of in on at with to from and it its this that no yes not one two three
small large big plain first last detail direction what which where how many
"""
"""With and without a space in front."""

STARTS = """
A An The It In On This That There Yes No What Which Where How Is Are Does Describe Red Green Blue Yellow White Black
Purple Orange Circle Square Triangle Cross Star Left Right Top Bottom Up Down Middle One Two Three
USER ASSISTANT
"""
"""At the beginning of a sentence or an answer; with a space in front, of the next sentence."""


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        min_frequency=1,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL.values()],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = f"{WORDS} {STARTS}".split()
    tokenizer.train_from_iterator([*words, *(f" {word}" for word in words)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    train().save(str(FOLDER / "tokenizer.json"), pretty=True)
    config = {
        **SPECIAL,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (FOLDER / "special_tokens_map.json").write_text(json.dumps(SPECIAL, indent=1) + "\n")


if __name__ == "__main__":
    main()
