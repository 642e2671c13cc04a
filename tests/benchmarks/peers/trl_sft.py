"""TRL's SFTTrainer on a LLaVA, as its guide for vision has it: EXPORT RECORDS MEDIA OUTPUT BATCH ACCUMULATION."""

import sys

import torch
from conversation import rows, training_options
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

export, records, media, output, batch, accumulation = sys.argv[1:]
torch.manual_seed(0)
processor = AutoProcessor.from_pretrained(export)
model = AutoModelForImageTextToText.from_pretrained(export, dtype=torch.float32, attn_implementation="sdpa")
made = rows(records, media)
turn = List({"role": Value("string"), "content": Value("string")})
data = Dataset.from_dict(
    {
        "images": [[row["image"]] if row["image"] else [] for row in made],
        "prompt": [[{"role": "user", "content": row["question"]}] for row in made],
        "completion": [[{"role": "assistant", "content": row["answer"]}] for row in made],
        "length": [row["length"] for row in made],
    },
    features=Features({"images": List(ImageFeature()), "prompt": turn, "completion": turn, "length": Value("int64")}),
)
options = training_options(output, int(batch), int(accumulation))
config = SFTConfig(**options, bf16=False, max_length=None)
trainer = SFTTrainer(model, config, train_dataset=data, processing_class=processor)
trainer.train()
trainer.save_model()
