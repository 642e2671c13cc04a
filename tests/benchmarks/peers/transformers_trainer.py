"""transformers' Trainer on a LLaVA, batches of like length: EXPORT RECORDS MEDIA OUTPUT BATCH ACCUMULATION."""

import sys

import torch
from conversation import Rows, collator, rows, training_options
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

export, records, media, output, batch, accumulation = sys.argv[1:]
torch.manual_seed(0)
processor = AutoProcessor.from_pretrained(export)
processor.tokenizer.padding_side = "right"
model = AutoModelForImageTextToText.from_pretrained(export, dtype=torch.float32, attn_implementation="sdpa")
made = rows(records, media)


class ByLength(Trainer):
    """`group_by_length` reads a column of lengths from datasets alone; these rows have theirs."""

    def _get_train_sampler(self, dataset=None):
        grouped = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(grouped, lengths=[row["length"] for row in made])


arguments = TrainingArguments(**training_options(output, int(batch), int(accumulation)))
trainer = ByLength(model, arguments, data_collator=collator(processor), train_dataset=Rows(made))
trainer.train()
trainer.save_model()
