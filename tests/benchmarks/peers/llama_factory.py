"""LLaMA-Factory on a LLaVA, packed neatly: EXPORT RECORDS MEDIA OUTPUT CUTOFF ACCUMULATION."""

import json
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from recipe import RATE, WARMUP

# Imported for sound, of which there is none here; its builds in package indexes are CUDA's and break a CPU's torch.
sys.modules.setdefault("torchaudio", module_from_spec(ModuleSpec("torchaudio", None)))
from llamafactory.train.tuner import run_exp  # noqa: E402

export, records, media, output, cutoff, accumulation = sys.argv[1:]
data = Path(output, "data")
data.mkdir(parents=True, exist_ok=True)
made = []
for record in json.loads(Path(records).read_text()):
    images = [str(Path(media, record["image"]).resolve())] if "image" in record else []
    made.append({"conversations": record["conversations"], "images": images})
(data / "records.json").write_text(json.dumps(made))
columns = {"messages": "conversations", "images": "images"}
(data / "dataset_info.json").write_text(
    json.dumps({"records": {"file_name": "records.json", "formatting": "sharegpt", "columns": columns}})
)
run_exp(
    {
        "model_name_or_path": export, "trust_remote_code": False, "stage": "sft", "do_train": True,
        "finetuning_type": "full", "freeze_vision_tower": False, "freeze_multi_modal_projector": False,
        "freeze_language_model": False, "disable_gradient_checkpointing": True, "flash_attn": "sdpa",
        "dataset": "records", "dataset_dir": str(data), "template": "llava", "default_system": "",
        "cutoff_len": int(cutoff), "neat_packing": True, "preprocessing_num_workers": 1, "overwrite_cache": True,
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": int(accumulation), "num_train_epochs": 1,
        "learning_rate": RATE, "lr_scheduler_type": "cosine", "warmup_steps": WARMUP, "output_dir": output,
        "save_strategy": "no", "report_to": "none", "logging_steps": 100, "use_cpu": True, "seed": 0,
        "dataloader_num_workers": 0, "dataloader_pin_memory": False, "plot_loss": False, "disable_tqdm": True,
    }
)  # fmt: skip
