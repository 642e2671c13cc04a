"""The commands: their names, panels and summaries."""

PIPELINE = "The pipeline"

BESIDE = "Beside it"

COMMANDS: dict[str, tuple[str, str]] = {
    "download": (PIPELINE, "Fetch the training set, or a part of it, from the hub or a local mirror."),
    "merge-tars": (PIPELINE, "Join archives that were published in parts."),
    "extract": (PIPELINE, "Unpack archives, merged or not, safely; or index them in place."),
    "import": (PIPELINE, "Take in captioned images and videos of your own, in any form, as a subset."),
    "tokenize": (PIPELINE, "Turn annotations into shards of token ids and labels."),
    "merge-shards": (PIPELINE, "Join the shards of a subset into what train reads, by linking."),
    "train": (PIPELINE, "Train a stage (projection, vision, language), or all of them."),
    "convert": (PIPELINE, "Export a run for transformers, xtuner or LLaVA, and prove that it computes the same."),
    "caption": (BESIDE, "Caption images and videos."),
    "merge-captions": (BESIDE, "Join the parts of captions that many processes made."),
    "evaluate": (BESIDE, "Score captions against references, with confidence intervals."),
    "serve": (BESIDE, "Serve a captioner to OpenAI's clients, and a page to try it on."),
    "merge-view": (BESIDE, "Show which patches of an image become one visual token."),
    "demo": (BESIDE, "Watch the whole pipeline train a tiny captioner on this machine."),
    "inspect": (BESIDE, "Look into data, annotations, shards or a run."),
    "presets": (BESIDE, "Show the presets and what their stages set."),
    "doctor": (BESIDE, "Show what is installed, and what is missing with the line that installs it."),
}
"""Name -> (panel, what it does). Apart from their flags: `aurora --help` imports no command."""
