"""README.md of an export: what the model is, how to use it, how its tokens merge, what it was trained on."""

import math
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCardData

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.data.download.origin import Origin
from aurora_cli.export.layouts.common import ExportJob, dtype_name, text_config, vision_config
from aurora_cli.export.receipt import CARD_FILE
from aurora_cli.export.trained_ratio import MEASURED, right_at
from aurora_cli.io.atomic import write_text
from aurora_cli.models.merge_plan import num_visual_tokens
from aurora_cli.models.towers.kinds import has_class_token

_USE = {
    "huggingface": """```python
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "{folder}"  # or the name of its repository
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
question = [{{"type": "image", "path": "a.jpg"}}, {{"type": "text", "text": "What is this?"}}]
chat = [{{"role": "user", "content": question}}]
inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
print(processor.batch_decode(model.generate(**inputs, max_new_tokens=64), skip_special_tokens=True)[0])
```

`trust_remote_code=True` runs the Python files of this repository: with them visual tokens merge, and
`token_kept_ratio` may be given to `from_pretrained` and to `generate`. Without it the same lines give LLaVA's own
class, which merges nothing.""",
    "xtuner": """```sh
aurora caption image.jpg --model {folder}
```

The language model is at the root, `visual_encoder/` and `projector/` beside it, each a model of its own for
`from_pretrained`. `architectures` in config.json is no class of any server, so that none serves the language model
alone as if it were the captioner.""",
    "official": """```sh
aurora caption image.jpg --model {folder}
```

The names are those of haotian-liu's LLaVA, whose loader takes this folder.""",
    "onnx": """```python
import numpy
import onnxruntime

session = onnxruntime.InferenceSession("{folder}/vision.onnx")
(visual_tokens,) = session.run(None, {{"pixel_values": numpy.zeros((2, 3, {side}, {side}), numpy.float32)}})
```

`vision.json` says how pixels become `pixel_values`, and what comes out: what the language model reads of each frame, in
place of its `<image>`. The language model is not here.""",
    "gguf": """```sh
llama-server -m model-*.gguf --mmproj mmproj-f16.gguf
```

llama.cpp's programs and those that are built on it take the two files. A video is its frames, as images of one message.
**llama.cpp merges no tokens**: what it computes is this model at a kept ratio of 1.0, with every patch of a frame as a
token. Captions are best at the ratio of training, which stands below.""",
}


def write_card(job: ExportJob, layout: str, folder: Path, name: str) -> None:
    write_text(folder / CARD_FILE, model_card(job, layout, name))


def model_card(job: ExportJob, layout: str, name: str) -> str:
    """The card of an export in `layout` that will be called `name`."""
    parts = [
        f"---\n{_metadata(job, layout).to_yaml()}\n---",
        f"# {name}",
        _what_it_is(job, layout),
        "## Use",
        _USE[layout].format(folder=name, side=job.checkpoint.model.image_size),
        "## How its visual tokens merge",
        _merging(job, layout),
        "## How it was trained",
        _history(job),
        "## Data",
        _data(job),
        "Written by `aurora convert`; `aurora.json` says of what, and whether it was verified.",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(job: ExportJob, layout: str) -> ModelCardData:
    """What the hub reads of the card: its front matter."""
    is_graph = layout == "onnx"
    return ModelCardData(
        library_name="onnx" if is_graph else "transformers",
        pipeline_tag="image-feature-extraction" if is_graph else "image-text-to-text",
        tags=["llava", "auroracap", "token-merging", "image-captioning", "video-captioning"],
        base_model=_bases(job) or None,
    )


def _bases(job: ExportJob) -> list[str]:
    """The hub's names of what training started from; a folder or random weights have none."""
    model = job.checkpoint.model
    named = ((model.vision_config, model.vision_tower), (model.text_config, model.language_model))
    return [name for config, name in named if config is None and name.count("/") == 1 and not Path(name).exists()]


def _started_from(job: ExportJob) -> list[str]:
    """The parts that training started from: the hub's names, of folders the last part of their paths."""
    hub, model = _bases(job), job.checkpoint.model
    named = ((model.vision_config, model.vision_tower), (model.text_config, model.language_model))
    return [name if name in hub else Path(name).name for config, name in named if config is None and name]


def _what_it_is(job: ExportJob, layout: str) -> str:
    vision, text = vision_config(job.checkpoint), text_config(job.checkpoint)
    parameters = sum(math.prod(tensor.shape) for tensor in job.tensors.values())
    started = _started_from(job)
    graph = layout == "onnx"
    of_what = "of these two in float32" if graph else f"in {dtype_name(job.tensors)}"
    return (
        ("Vision tower and projector, as one ONNX graph, of this model:\n\n" if graph else "")
        + "A captioner of images and videos: a vision tower whose layers merge similar tokens, a two-layer projector, "
        f"a language model ({vision['model_type']}, {vision['num_hidden_layers']} layers of {vision['hidden_size']}; "
        f"{text['model_type']}, {text['num_hidden_layers']} layers of {text['hidden_size']}). "
        f"{parameters:,} parameters {of_what}; images are padded to a square and resized to "
        f"{job.checkpoint.model.image_size} px."
        + (f" Training started from {' and '.join(f'`{name}`' for name in started)}." if started else "")
    )


def _merging(job: ExportJob, layout: str) -> str:
    checkpoint, merging = job.checkpoint, job.checkpoint.merging
    vision, side = vision_config(checkpoint), checkpoint.model.image_size
    patches = (side // vision["patch_size"]) ** 2
    tokens = num_visual_tokens(
        side,
        side,
        patch_size=vision["patch_size"],
        num_layers=vision["num_hidden_layers"],
        feature_layer=checkpoint.model.feature_layer,
        class_token=has_class_token(vision["model_type"]),
        merging=merging,
    )
    rows: list[tuple[str, str]] = [
        *_trained_at(checkpoint),
        ("kept ratio" + " unless another is said" * bool(checkpoint.trained_ratios), f"{merging.kept_ratio:g}"),
        ("tokens of a frame", f"{tokens:,} of {patches:,}"),
        ("schedule", merging.schedule),
        ("proportional attention", "yes" if merging.proportional_attention else "no"),
        ("first frame of a video whole (slow-fast)", "yes" if merging.slowfast else "no"),
    ]
    notes = [note for note in checkpoint.notes if "does not say how" in note or "the graph merges" in note]
    warning = None if layout == "onnx" else right_at(merging, checkpoint.trained_ratios)
    if warning is not None:
        notes.append(f"**This model is {warning}.**")
    notes += [f"{note[0].upper()}{note[1:]}." for note in checkpoint.notes if note.startswith(MEASURED)]
    return "\n\n".join([_table(("setting", "value"), rows), *notes])


def _trained_at(checkpoint: OpenedCheckpoint) -> list[tuple[str, str]]:
    """Of a model for several numbers of tokens."""
    ratios = checkpoint.trained_ratios
    return [("trained at kept ratios", ", ".join(f"{ratio:g}" for ratio in ratios))] if ratios else []


def _history(job: ExportJob) -> str:
    if not job.checkpoint.history:
        return "The weights that this was made of do not say."
    rows = [
        (stage.stage, f"{stage.step:,} of {stage.steps:,}", ", ".join(stage.trained).replace("_", " "))
        for stage in job.checkpoint.history
    ]
    return _table(("stage", "steps", "trained"), rows)


def _data(job: ExportJob) -> str:
    rows: list[tuple[str, ...]] = []
    for stage in job.checkpoint.history:
        for data in stage.data:
            terms = "; ".join(_term(origin) for origin in data.origins) or "not recorded"
            files = ", ".join(file.path for file in data.files) or data.folder
            times = "" if data.weight == 1 else f" x {data.weight:g}"
            rows.append((stage.stage, files, f"{data.records:,}{times}", terms))
    if not rows:
        return "What it was trained on is not recorded."
    return (
        _table(("stage", "annotations", "records", "from, and under which terms"), rows)
        + "\n\nA licence of a data set covers its annotations; its images and videos stay their owners'. Licences are "
        "as the pages stated them when the data was fetched; it is the page that counts, also for these weights."
    )


def _term(origin: Origin) -> str:
    note = f" ({origin.note})" if origin.note else ""
    name = f"[{origin.name}]({origin.url})" if origin.url else origin.name
    return f"{name}: {origin.licence}{note}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
