"""Settings of what is done with a trained model, and of looking at things.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from typing import Literal

from pydantic import Field

from aurora_cli.config.judging import JudgeSettings
from aurora_cli.config.section import (
    Counts,
    Dtype,
    HtmlOutput,
    JsonLinesOutput,
    KeptRatios,
    LocalPath,
    Names,
    Number,
    OutputFolder,
    PathOrUrl,
    Paths,
    PathsOrUrls,
    Section,
)
from aurora_cli.config.share import ShareName
from aurora_cli.constants import VIDEO_QUESTION

Layout = Literal["xtuner", "huggingface", "official", "onnx", "gguf"]
Quantization = Literal["f16", "q8_0", "q4_k_m"]
Engine = Literal["local", "ray"]


class ConvertSettings(Section):
    """`aurora convert`."""

    checkpoint: str | None = None
    """What to convert; none: the newest finished run."""

    output: OutputFolder | None = None
    """Where to; none: export/<format>."""

    format: Layout = "xtuner"
    """The original's files, transformers' LLaVA, haotian-liu's, ONNX (tower and projector), or llama.cpp's."""

    token_kept_ratio: Number | None = Field(default=None, gt=0.0, le=1.0)
    """Share of a frame's patches that leave the graph of `--format onnx`; none: what the model was trained with."""

    base: str | None = None
    """Where parts that the checkpoint lacks come from; none: what the run started from, else the preset's models."""

    safe_serialization: bool = True
    """safetensors; without, PyTorch's pickled .bin."""

    dtype: Dtype | None = None
    """Type of the written tensors; none: as they are."""

    quantization: Quantization | None = None
    """Of the language model with `--format gguf`: halves, or blocks of 8 or 4 bits a weight; none: f16."""

    max_shard_size: str = Field(default="2GB", pattern=r"^\d+(\.\d+)?\s*[KMG]B$")
    """A weights file is at most this large."""

    verify: bool = True
    """Load what was written in a fresh process, and compare its ids and logits."""

    push_to_hub: str | None = None
    """Repository on the hub to upload the export to, made where it is not there; none: it stays here."""

    private: bool = False
    """Make that repository a private one."""


class CaptionSettings(Section):
    """`aurora caption`."""

    media: Names = ()
    """Images, videos, folders of them, patterns, objects of a bucket (`s3://`), and with `--allow-remote` URLs."""

    manifest: PathOrUrl | None = None
    """A list of media: .jsonl, .csv or .parquet with `media`, and `id`, `span`, `prompt` if wanted; or its URL."""

    media_root: PathsOrUrls = ()
    """Where the list's media are looked up before the folder it lies in: folders, indexed .tar, or URLs of either."""

    model: str | None = None
    """Folder of an export or a run, its URL, or a hub id; none: export/huggingface, else the newest run."""

    token_kept_ratio: Number | None = Field(default=None, gt=0.0, le=1.0)
    """Share of a frame's patches that reach the language model; none: what the model was trained with."""

    slowfast: bool | None = None
    """Keep the first frame of a video whole; none: what the model was trained with."""

    frames: int | None = Field(default=None, ge=1)
    """Frames taken evenly from a video, 1 its middle; none: what the model was trained with, else 8."""

    prompt: str = "Describe the image in detail."
    """What the model is asked about each image."""

    clip_prompt: str = VIDEO_QUESTION
    """What the model is asked about each video."""

    max_new_tokens: int = Field(default=256, ge=1)
    """Tokens of a caption at most."""

    temperature: float = Field(default=0.0, ge=0.0)
    """Sampling temperature; 0 always takes the likeliest token."""

    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Sample from the likeliest tokens that together have this probability; 1.0: from all."""

    num_beams: int = Field(default=1, ge=1)
    """Beams of the beam search; 1: no beam search."""

    seed: int = Field(default=0, ge=0)
    """Seed of the sampling."""

    batch_size: int = Field(default=8, ge=1)
    """Images or videos at a time."""

    engine: Engine = "local"
    """Who captions: this machine, or the processes of a Ray cluster, which are started again when they are lost."""

    num_processes: int | None = Field(default=None, ge=1)
    """Processes on this machine, each with a share of the media; where there are GPUs, each has one of them. None: one.
    With `--engine ray` processes of the cluster; none: one a GPU, without GPUs one."""

    output: JsonLinesOutput | None = None
    """JSONL file for the captions as well, or its URL; what it holds already is not captioned again."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Caption one share of the media, I/N, with I from 0 to N-1, into a part of the output; `auto` takes I and N from
    SLURM's array or a launcher; none: all media."""

    allow_remote: bool = False
    """Fetch media that are URLs, by http and https."""

    max_remote_mb: float = Field(default=500.0, gt=0.0)
    """A medium from the network has at most this many megabytes."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`."""

    dtype: Dtype | None = None
    """Type of the weights in memory; none: bfloat16 on a GPU, float32 on a CPU (one with AMX is faster in bfloat16)."""

    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """Spread the model over several devices, as accelerate does; none: all of it on `device`."""

    serve: bool = False
    """Open a page on this machine, to drop images and videos on."""

    port: int = Field(default=7860, ge=0, le=65535)
    """Port of the page; 0 takes a free one."""

    max_upload_mb: float = Field(default=200.0, gt=0.0)
    """What is dropped on the page has at most this many megabytes."""


class MergeCaptionsSettings(Section):
    """`aurora merge-captions`."""

    output: PathOrUrl | None = None
    """The output of `aurora caption --shard`, beside which its parts lie."""


class EvaluateSettings(Section):
    """`aurora evaluate`."""

    captions: PathOrUrl | None = None
    """Output of `aurora caption`, or any .jsonl or .csv with ids and captions, or a URL of such (`s3://`); none: a
    model captions first."""

    references: PathOrUrl | None = None
    """What it is compared with: lines of `id` and `references` or `qa`, COCO's annotations, or what `aurora import`
    reads; or the URL of a file of those."""

    against: PathOrUrl | None = None
    """Captions of the same media by another model, or their URL; none: no comparison."""

    model: str | None = None
    """What captions: folder of an export or a run, or a hub id; none: as `aurora caption`."""

    media: Names = ()
    """Images, videos, folders and patterns to caption; none: the media that the references name."""

    media_root: PathOrUrl | None = None
    """Where those lie: a folder, or the URL of one or of an indexed tar; none: beside the references, or in the
    workspace."""

    token_kept_ratios: KeptRatios = ()
    """Share of a frame's patches that reach the language model; several make the curve; none: as trained."""

    frames: Counts = ()
    """Frames taken evenly from a video, each number at each kept ratio; none: as trained, else 8."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Caption one share of the media, I/N, with I from 0 to N-1, and score once all are captioned; `auto` takes I and N
    from SLURM's array or a launcher; none: all media."""

    metrics: Names = ()
    """Metrics that are shown and written; none: all but `spice`, which needs Stanford's parser."""

    tokenizer: Literal["auto", "ptb", "python"] = "auto"
    """What splits text into words: `ptb`, as publications do, needs Java; `auto` takes it where that is there."""

    resamples: int = Field(default=1000, ge=100)
    """Resamples of the media, for intervals and p-values."""

    seed: int = Field(default=0, ge=0)
    """Seed of the resampling."""

    output: OutputFolder | None = None
    """Folder for the results; none: evaluation/<name of the captions' file, or of the model>, and the references' name
    behind it where results with other references are there."""

    check_contamination: Paths = ()
    """Training data to look for the media and captions in: tokenized folders, or files of annotations or captions."""

    near_images: bool = True
    """Compare with training media by their looks too, which decodes all of them."""

    judge: JudgeSettings = JudgeSettings()


class ServeSettings(Section):
    """`aurora serve`. What a request does not say is as in `caption`."""

    model: str | None = None
    """Folder of an export or a run, or a hub id; none: export/huggingface, else the newest run."""

    token_kept_ratio: Number | None = Field(default=None, gt=0.0, le=1.0)
    """Share of a frame's patches that reach the language model, where a request says none; none: as trained."""

    host: str = "127.0.0.1"
    """Address to serve on; any but this machine's own needs `--api-key-env`."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to serve on; 0 takes a free one."""

    api_key_env: str | None = None
    """Environment variable with the key that clients must send; none: no key."""

    media_root: LocalPath | None = None
    """Folder whose files requests may name; none: they may name none."""

    allow_remote: bool = False
    """Fetch media that requests name by http and https."""

    queue: int = Field(default=32, ge=1)
    """Requests that wait at most; others are answered 429."""

    max_batch_tokens: int = Field(default=32_768, ge=1)
    """Tokens that all running requests may come to together."""

    batch_size: int = Field(default=16, ge=1)
    """Requests that run together at most."""

    max_request_mb: float = Field(default=64.0, gt=0.0)
    """A request, and a file that it names, has at most this many megabytes."""

    max_megapixels: float = Field(default=50.0, gt=0.0)
    """An image, and a frame of a video, has at most this many million pixels."""

    max_video_frames: int = Field(default=100_000, ge=1)
    """A video has at most this many frames: the default is almost an hour at 30 a second."""

    drain_s: float = Field(default=30.0, ge=0.0)
    """Seconds that running requests may take to end after Ctrl-C."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`."""

    dtype: Dtype | None = None
    """Type of the weights in memory; none: `caption.dtype`, else bfloat16 on a GPU, float32 on a CPU (one with AMX is
    faster in bfloat16)."""


class MergeViewSettings(Section):
    """`aurora merge-view`."""

    image: LocalPath | None = None
    """The image, or a video, of which the middle frame is taken."""

    model: str | None = None
    """Folder of an export or a run, or a hub id; none: export/huggingface, else the newest run."""

    token_kept_ratios: KeptRatios = ()
    """Share of the patches that are kept, one a view; none: 1.0, 0.5, 0.2 and 0.1, as far down as the tower can go."""

    output: LocalPath | None = None
    """PNG file; none: <image>.merged.png in the workspace."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`."""


class DemoSettings(Section):
    """`aurora demo`."""

    prepare_only: bool = False
    """Make the workspace (data set to download, aurora.yaml) and stop."""

    images: int = Field(default=3000, ge=8)
    """Drawn images to train on."""

    videos: int = Field(default=4000, ge=8)
    """Drawn videos to train on."""

    held_out: int = Field(default=100, ge=2)
    """Images, and as many videos, to caption at the end; never trained on."""


class PresetsSettings(Section):
    """`aurora presets`."""

    name: str | None = None
    """What the copy of `--copy` is called."""

    show: str | None = None
    """Print the folder and the content of this preset."""

    copy_of: str | None = None
    """Copy this preset into the workspace's folder `presets`, under the name that follows; `slurm`: the batch scripts,
    into the folder that follows or `slurm`."""

    new: str | None = None
    """Write a preset of this name there: that of `--preset`, with the named parts and what follows from them."""


class InspectSettings(Section):
    """`aurora inspect`."""

    path: LocalPath | None = None
    """A data folder, an annotation file, a shard, a merged folder or a run; none: data/."""

    decode: bool = False
    """Of a data folder: decode every image and video, to find those that cannot be read."""

    shard: ShareName | None = Field(default=None, examples=["0/8"])
    """Decode one share of them, I/N, with I from 0 to N-1; `auto` takes I and N from SLURM's array or a launcher; none:
    all."""

    media_root: LocalPath | None = None
    """Folder or indexed tar that media are named from; none: the annotation file's folder."""

    samples: int | None = Field(default=None, ge=0)
    """Rows of a token store that are shown, evenly spread; none: 1, and 12 with `html`."""

    html: HtmlOutput | None = None
    """File for a report to be read in a browser: of a token store its charts, rejects and rows; of a run its page."""
