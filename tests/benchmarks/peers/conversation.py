"""What the peers train on: questions and answers, and a collator that leaves questions out of the loss, as ours does.

Imports nothing of aurora: it runs in the environments of other packages.
"""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from recipe import IGNORED, RATE, WARMUP


def rows(records: str, media: str) -> list[dict[str, Any]]:
    """`length` counts an answer's words, each a token, and an image's tokens: what batches of like length go by."""
    made = []
    for record in json.loads(Path(records).read_text()):
        question, answer = (turn["value"] for turn in record["conversations"])
        image = str(Path(media) / record["image"]) if "image" in record else None
        length = len(answer.split()) + (256 if image else 0)
        question = question.removeprefix("<image>\n")
        made.append({"image": image, "question": question, "answer": answer, "length": length})
    return made


def user_turn(row: dict[str, Any]) -> dict[str, Any]:
    image = [{"type": "image"}] if row["image"] else []
    return {"role": "user", "content": [*image, {"type": "text", "text": row["question"]}]}


def collator(processor: Any) -> Any:
    """As a user writes it for a LLaVA: the export's chat template and processor, labels behind the question alone."""
    tokenizer = processor.tokenizer

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        questions, texts = [], []
        for row in batch:
            turn = user_turn(row)
            questions.append(tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))
            turns = [turn, {"role": "assistant", "content": row["answer"]}]
            texts.append(tokenizer.apply_chat_template(turns, tokenize=False).removesuffix("\n"))
        images = [Image.open(row["image"]) for row in batch if row["image"]] or None
        made = processor(images=images, text=texts, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = made["input_ids"].masked_fill(made["attention_mask"] == 0, IGNORED)
        for number, question in enumerate(questions):
            words = len(tokenizer(question, add_special_tokens=False)["input_ids"])
            visual = int((made["input_ids"][number] == processor.image_token_id).sum())
            labels[number, : words + max(0, visual - 1)] = IGNORED
        return {**made, "labels": labels}

    return collate


class Rows(torch.utils.data.Dataset):
    def __init__(self, made: list[dict[str, Any]]) -> None:
        self.made = made

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.made[index]


def training_options(output: str, batch: int, accumulation: int) -> dict[str, Any]:
    """Of transformers' TrainingArguments, for all who build on them: AdamW, a cosine, nothing that was not asked for.

    Batches of like length; no process beside the one that trains: on two cores it would only take turns with it.
    """
    return {
        "output_dir": output, "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 1, "learning_rate": RATE, "lr_scheduler_type": "cosine", "warmup_steps": WARMUP,
        "save_strategy": "no", "report_to": [], "logging_steps": 100, "remove_unused_columns": False, "use_cpu": True,
        "disable_tqdm": True, "gradient_checkpointing": False, "dataloader_num_workers": 0,
        "dataloader_pin_memory": False, "train_sampling_strategy": "group_by_length", "length_column_name": "length",
    }  # fmt: skip
