"""What a model in a folder says of records that it has not seen, by plain transformers, in any tool's environment.

loss MODEL RECORDS MEDIA [yes|no]   its mean over the target tokens; whether the model merges tokens
inputs EXPORT RECORDS MEDIA FILE    one padded batch of the first records, saved
logits EXPORT FILE OUTPUT           of that batch's target tokens, saved; prints the versions
"""

import json
import sys

import numpy as np
import torch
import transformers
from conversation import collator, rows
from recipe import IGNORED
from transformers import AutoModelForImageTextToText, AutoProcessor

BATCH = 4


def batches_of(export, records, media, trusted=False):
    processor = AutoProcessor.from_pretrained(export, trust_remote_code=trusted)
    processor.tokenizer.padding_side = "right"
    return collator(processor), rows(records, media)


def loss(model, records, media, merges="no"):
    """An export that merges (`merges` is yes) brings the code for it; all others are transformers' own LLaVA."""
    trusted = merges == "yes"
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32, trust_remote_code=trusted).eval()
    collate, made = batches_of(model, records, media, trusted)
    total, tokens = 0.0, 0
    for row in made:
        batch = collate([row])
        targets = int((batch["labels"][:, 1:] != IGNORED).sum())
        with torch.inference_mode():
            total += float(network(**batch).loss) * targets
        tokens += targets
    print(json.dumps({"loss": total / tokens, "tokens": tokens}))


def inputs(export, records, media, file):
    collate, made = batches_of(export, records, media)
    np.savez(file, **{name: value.numpy() for name, value in collate(made[:BATCH]).items()})


def logits(export, file, output):
    network = AutoModelForImageTextToText.from_pretrained(export, dtype=torch.float32).eval()
    batch = {name: torch.from_numpy(value) for name, value in np.load(file).items()}
    targets = batch.pop("labels")[:, 1:] != IGNORED
    with torch.inference_mode():
        np.save(output, network(**batch).logits[:, :-1][targets].float().numpy())
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}))


if __name__ == "__main__":
    {"loss": loss, "inputs": inputs, "logits": logits}[sys.argv[1]](*sys.argv[2:])
