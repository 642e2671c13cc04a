"""Every setting of aurora: one strict, frozen tree. A field's docstring is its help on the command line and in docs.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import CLIP_QUESTION


def _as_list(value: object) -> object:
    """A lone value where a list is meant: `AURORA_DOWNLOAD__SPLITS=vision`, `splits: vision`."""
    return [value] if isinstance(value, str | Path | float) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Triple = tuple[float, float, float]
KeptRatio = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the tree: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class ModelSettings(Section):
    """Which network: a vision tower, a projector and a language model."""

    vision_tower: str = "apple/DFN5B-CLIP-ViT-H-14-378"
    """Folder or hub id of a CLIP or SigLIP model."""

    vision_config: dict[str, Any] | None = None
    """A CLIPVisionConfig or SigLIPVisionConfig (by `model_type`) to start from at random, instead of `vision_tower`."""

    language_model: str = "lmsys/vicuna-7b-v1.5-16k"
    """Folder or hub id of a causal language model."""

    text_config: dict[str, Any] | None = None
    """A language model's config (by `model_type`) to start from at random, instead of `language_model`."""

    tokenizer: str | None = None
    """Folder or hub id of the tokenizer; none: the language model's."""

    feature_layer: int = Field(default=-2, le=-1)
    """The hidden state that the projector reads, from the end; layers behind it never run."""

    image_size: int = Field(default=378, ge=14)
    """Side in pixels that a frame is padded to a square and resized to."""

    image_mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    """Mean of the red, green and blue channels (of 0..1), subtracted, and the colour of the padding."""

    image_std: Triple = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of the channels (of 0..1), divided by."""


class DownloadSettings(Section):
    """`aurora download`."""

    repo: str = "wchai/AuroraCap-trainset"
    """Data set on the hub, or a local folder in the same layout."""

    revision: str = "main"
    """Branch, tag or commit."""

    splits: Names = ()
    """Splits to take (projection, vision, language); none: all."""

    subsets: Names = ()
    """Subsets to take; none: all."""

    annotations_only: bool = False
    """Only the jsonl files, no archives."""

    include: Names = ()
    """Take only files that match one of these globs."""

    exclude: Names = ()
    """Leave out files that match one of these globs."""

    output: Path = Path("data")
    """Where to."""

    workers: int = Field(default=4, ge=1)
    """Files at a time."""

    retries: int = Field(default=5, ge=0)
    """Times that a file is asked for again without a new byte of it having come."""

    retry_wait_s: float = Field(default=1.0, ge=0.0)
    """Seconds before the first of these; doubled for each next, at most 60; what a server asks for counts more."""

    sync: bool = True
    """Make a file durable before it gets its name; without, a power cut can damage what came last."""

    verify: bool = False
    """Hash what is already here again, and fetch what differs."""


class MergeTarsSettings(Section):
    """`aurora merge-tars`."""

    folders: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = (Path("data"),)
    """Where the parts are, searched to the bottom."""

    delete_parts: bool = False
    """Remove the parts of an archive once it is whole on disk."""

    sync: bool = True
    """Wait until an archive is on the disk itself; without, a power cut soon after can leave it with holes."""


class ExtractSettings(Section):
    """`aurora extract`."""

    inputs: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = (Path("data"),)
    """Archives, parts, or folders that hold them."""

    output: Path | None = None
    """Where the members go; none: the folder that the archive lies in."""

    layout: Literal["files", "index"] = "files"
    """`files` unpacks; `index` keeps one seekable archive and an index beside it."""

    delete_archives: bool = False
    """Remove an archive once every member is on disk and nothing in it was refused."""

    sync: bool = True
    """Make groups of members durable as they are written; without, a power cut can lose all of an archive."""

    workers: int = Field(default=2, ge=1)
    """Archives at a time."""

    max_inflation: float = Field(default=100.0, ge=1.0)
    """An archive that grows beyond 16 GiB and beyond so many times its own size is taken for a bomb, and left."""


class TokenizeSettings(Section):
    """`aurora tokenize`."""

    inputs: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = ()
    """Annotation files (.jsonl, .jsonl.gz, .json); none: every one under data/."""

    splits: Names = ()
    """Of the workspace's files, only these splits; none: all."""

    subsets: Names = ()
    """Of the workspace's files, only these subsets; none: all."""

    output: Path | None = None
    """Folder for the shards; none: tokenized/<split>/<subset>."""

    batch_size: int = Field(default=100_000, ge=1)
    """Records a shard."""

    record_schema: Literal["auto", "llava", "sharegpt4video", "openai-messages"] = "auto"
    """Form of the records; `auto` recognises each by its fields."""

    template: str = "vicuna"
    """How a conversation is written out; `tokenizer` is the tokenizer's own chat template."""

    max_length: int = Field(default=4096, ge=2)
    """Tokens a record, a picture or frame counting one; the rest is cut off."""

    frames: int = Field(default=8, ge=1)
    """Frames that a `<video>` stands for."""

    frame_lists: Literal["separate", "clip"] = "separate"
    """What a list of pictures is: separate pictures, or the frames of one clip."""

    clip_subsets: Names = ()
    """Subsets whose lists of pictures are clips, whatever `frame_lists` says."""

    workers: int | None = Field(default=None, ge=1)
    """Processes; none: one a core, and one for a small file."""

    check_media: bool = False
    """Reject records of which a picture or clip is not there, as a file or in an indexed archive."""

    on_error: Literal["reject", "stop"] = "reject"
    """What to do with a bad record: list it in rejected.jsonl, or stop with exit 3."""

    force: bool = False
    """Redo shards that other settings made."""


class MergeShardsSettings(Section):
    """`aurora merge-shards`."""

    folders: Annotated[tuple[Path, ...], BeforeValidator(_as_list)] = ()
    """Folders that `tokenize` wrote; none: every one in the workspace."""

    output: Path | None = None
    """Where to; none: `merged` in the folder."""

    copy_files: bool = False
    """Copy the files instead of linking them, for another filesystem."""


class ModuleTraining(Section):
    """How one part of the network trains."""

    lr: float = Field(gt=0.0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay (AdamW) of matrices; norms and biases never decay."""


class Lora(Section):
    """Low-rank adapters instead of a part's own weights."""

    rank: int = Field(default=16, ge=1)
    """Of the update of a weight: the fewer, the smaller."""

    alpha: float = Field(default=32.0, gt=0.0)
    """The update is scaled by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of an adapter's inputs dropped in training."""

    targets: Names = ()
    """Linear layers that get one, by the last part of their name (q_proj, down_proj, ...); none: all of them."""


class LoraSettings(Section):
    """Which parts learn by adapters; each needs its rate (`train.<part>.lr`) too."""

    language_model: Lora | None = None
    """Adapters of the language model; none: it learns whole, or is frozen."""

    vision_tower: Lora | None = None
    """Adapters of the vision tower; none: it learns whole, or is frozen."""


class TrainSettings(Section):
    """`aurora train`."""

    stage: str = "projection"
    """Stage: a file of the preset (projection, vision, language)."""

    after: str | None = None
    """The stage whose newest weights this one starts from; none: the preset's models."""

    init_from: str | None = None
    """Folder (run, checkpoint, xtuner, huggingface) or hub id to start from, instead of `after`."""

    data: Names = ()
    """Merged folders, `:weight` behind one repeats it that often; none: every tokenized/<stage>/*/merged."""

    media_root: Path | None = None
    """Folder that pictures and clips are named from; none: the annotation file's."""

    run_dir: Path | None = None
    """Where the run writes; none: runs/<stage>."""

    projector: ModuleTraining | None = None
    """How the projector trains; none: it is frozen."""

    vision_tower: ModuleTraining | None = None
    """How the vision tower trains; none: it is frozen."""

    language_model: ModuleTraining | None = None
    """How the language model trains; none: it is frozen."""

    lora: LoraSettings = LoraSettings()

    epochs: float = Field(default=1.0, gt=0.0)
    """Times through the data."""

    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many optimizer steps, and plan the schedule for them; none: `epochs` decides."""

    global_batch_packs: int = Field(default=16, ge=1)
    """Packs an optimizer step, over all processes."""

    micro_batch_packs: int = Field(default=1, ge=1)
    """Packs that a process takes through the network at once."""

    pack_tokens: int = Field(default=4096, ge=16)
    """Text and visual tokens that one pack holds at most."""

    pack_frames: int = Field(default=256, ge=1)
    """Frames that one pack holds at most."""

    warmup_ratio: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Share of the steps in which the rate rises from 0; it then falls to 0 along a cosine."""

    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay of its two moments."""

    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this global norm."""

    max_loss_jump: float | None = Field(default=10.0, gt=0.0)
    """The run stops at a step whose loss is so many nats above the mean of the last 50 or so; none: never."""

    precision: Precision = "auto"
    """Of the computation; weights are kept in fp32. `auto`: bf16 on CUDA, fp32 on a CPU."""

    gradient_checkpointing: bool = False
    """Compute activations a second time in the backward pass instead of keeping them."""

    seed: int = Field(default=0, ge=0)
    """Of the order of samples, dropout and random weights."""

    deepspeed: str | None = None
    """none, zero1, zero2, zero2_offload, zero3, zero3_offload or a JSON file; unset: none for one process, or zero2."""

    num_processes: int | None = Field(default=None, ge=1)
    """Processes to start; unset: one a GPU, or one."""

    plan: bool = False
    """Only reckon: parameters, memory, tokens, steps, FLOPs and hours, disk. Touches nothing."""

    flops_per_s: float = Field(default=2e14, gt=0.0)
    """FLOP/s that a process is taken to reach in `plan` (an H100 in bf16: 2e14 to 5e14)."""

    resume: str = "auto"
    """`auto` goes on from the newest checkpoint, `never` starts afresh, or a checkpoint's folder."""

    trackers: Names = ("tensorboard",)
    """Experiment trackers by accelerate's names (wandb, trackio, mlflow, ...); TensorBoard's files lie in the run."""

    samples_every: int = Field(default=500, ge=0)
    """Optimizer steps between captions of fixed pictures and clips, into `samples/` of the run; 0: never."""

    samples: int = Field(default=4, ge=1)
    """Pictures and clips that these captions are of: held-out ones if there are any."""

    watchdog_s: float = Field(default=1800.0, gt=0.0)
    """Seconds that a step may take before every process prints where it is and the run ends."""


class DataSettings(Section):
    """How training samples are read."""

    batching: Literal["packed", "grouped", "padded"] = "packed"
    """`packed` fills packs to the token, `grouped` pads samples of like length, `padded` takes them as they come."""

    too_long: Literal["cut", "reject"] = "cut"
    """A sample above `train.pack_tokens`: its last answer is cut at the end, or it is left out."""

    frame_sampling: Literal["timestamp", "uniform", "fps"] = "timestamp"
    """Which frames of a clip are taken, as many as were tokenized: `timestamp` spreads them evenly over its time,
    `uniform` over its frames (the same unless the rate varies), `fps` takes `data.fps` a second."""

    fps: float = Field(default=1.0, gt=0.0)
    """Frames a second for `frame_sampling: fps`: a clip too long for them is spread evenly, in a short one each repeats."""

    max_bad_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of samples with unreadable media above which the run stops."""

    validation_share: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Share of samples held out, whose loss is measured at every checkpoint."""

    workers: int = Field(default=2, ge=0)
    """Loader processes beside each training process; 0 reads in the training process itself."""


class CheckpointSettings(Section):
    """When training saves."""

    every: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints; the last step always saves."""

    keep: int = Field(default=2, ge=1)
    """Newest checkpoints that stay."""

    copy_to: Path | None = None
    """Folder on another disk that every checkpoint is copied into while training goes on, as `<stage>/step-*`."""


class ConvertSettings(Section):
    """`aurora convert`."""

    checkpoint: str | None = None
    """What to convert; none: the newest finished run."""

    output: Path | None = None
    """Where to; none: export/<format>."""

    format: Literal["xtuner", "huggingface", "official"] = "xtuner"
    """Whose names and files: the original's, transformers' LLaVA, or haotian-liu's LLaVA."""

    base: str | None = None
    """Where parts that the checkpoint lacks come from; none: what the run started from, else the preset's models."""

    safe_serialization: bool = True
    """safetensors; without, PyTorch's pickled .bin."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the written tensors; none: as they are."""

    max_shard_size: str = Field(default="2GB", pattern=r"^\d+(\.\d+)?\s*[KMG]B$")
    """A weights file is at most this large."""

    verify: bool = True
    """Load what was written in a fresh process, and compare its logits."""

    push_to_hub: str | None = None
    """Repository on the hub to upload the export to, made where it is not there; none: it stays here."""

    private: bool = False
    """Make that repository a private one."""


class CaptionSettings(Section):
    """`aurora caption`."""

    media: Names = ()
    """Pictures, clips, folders of them, patterns, and with `--allow-remote` URLs."""

    model: str | None = None
    """Folder of an export or a run, or a hub id; none: export/huggingface, else the newest run."""

    token_kept_ratio: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of a frame's patches that reach the language model; none: what the model was trained with."""

    slowfast: bool | None = None
    """First frame of a clip whole; none: what the model was trained with."""

    frames: int | None = Field(default=None, ge=1)
    """Frames taken evenly from a clip, 1 its middle; none: what the model was trained with, else 8."""

    prompt: str = "Describe the image in detail."
    """What the model is asked about each picture."""

    clip_prompt: str = CLIP_QUESTION
    """What the model is asked about each clip."""

    max_new_tokens: int = Field(default=256, ge=1)
    """Tokens of a caption at most."""

    temperature: float = Field(default=0.0, ge=0.0)
    """Words are drawn, the more freely the higher it is; 0 always takes the likeliest."""

    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of what is drawn from: the likeliest tokens that together have this probability; 1.0 all."""

    num_beams: int = Field(default=1, ge=1)
    """Continuations that are followed side by side; 1 follows one."""

    seed: int = Field(default=0, ge=0)
    """Of what is drawn."""

    batch_size: int = Field(default=8, ge=1)
    """Pictures or clips at a time."""

    output: Path | None = None
    """JSONL file for the captions as well; what it holds already is not captioned again."""

    allow_remote: bool = False
    """Fetch media that are URLs, by http and https."""

    max_remote_mb: float = Field(default=500.0, gt=0.0)
    """A medium from the network has at most so many megabytes."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`."""

    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """Spread a model over several devices, as accelerate does it; none: all of it on `device`."""

    serve: bool = False
    """Open a page on this machine, to drop pictures and clips on."""

    port: int = Field(default=7860, ge=0, le=65535)
    """Of the page; 0 takes a free one."""

    max_upload_mb: float = Field(default=200.0, gt=0.0)
    """What is dropped on the page has at most so many megabytes."""


class MergeViewSettings(Section):
    """`aurora merge-view`."""

    image: Path | None = None
    """The picture, or a clip, of which the middle frame is taken."""

    model: str | None = None
    """Folder of an export or a run, or a hub id; none: export/huggingface, else the newest run."""

    token_kept_ratios: Annotated[tuple[KeptRatio, ...], BeforeValidator(_as_list)] = ()
    """Share of the patches that are kept, one a view; none: 1.0, 0.5, 0.2 and 0.1, as far down as the tower can go."""

    output: Path | None = None
    """PNG file; none: <image>.merged.png in the workspace."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`."""


class DemoSettings(Section):
    """`aurora demo`."""

    prepare_only: bool = False
    """Make the workspace (data set to download, aurora.yaml) and stop."""

    pictures: int = Field(default=3000, ge=8)
    """Drawn pictures to train on."""

    clips: int = Field(default=4000, ge=8)
    """Drawn clips to train on."""

    held_out: int = Field(default=100, ge=2)
    """Pictures, and as many clips, to caption at the end; never trained on."""


class InspectSettings(Section):
    """`aurora inspect`."""

    path: Path | None = None
    """A data folder, an annotation file, a shard, a merged folder or a run; none: data/."""

    decode: bool = False
    """Of a data folder: decode every picture and clip, to find those that cannot be read."""

    samples: int | None = Field(default=None, ge=0)
    """Rows of a token store that are shown, evenly spread; none: 1, and 12 with `html`."""

    html: Path | None = None
    """File for a report on a token store, to be read in a browser: charts, rejects, rows with their pictures."""


class Settings(BaseSettings):
    """The whole tree. `config.resolve.resolve` builds it: it merges the sources and knows where a value came from."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        env_prefix="AURORA_",
        env_nested_delimiter="__",
    )

    workspace: Path = Path()
    """Folder that all relative paths start from."""

    preset: str = "auroracap-7b"
    """A preset's name, or a file or folder like one."""

    model: ModelSettings = ModelSettings()
    merging: TokenMerging = TokenMerging()
    download: DownloadSettings = DownloadSettings()
    merge_tars: MergeTarsSettings = MergeTarsSettings()
    extract: ExtractSettings = ExtractSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    merge_shards: MergeShardsSettings = MergeShardsSettings()
    train: TrainSettings = TrainSettings()
    data: DataSettings = DataSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    convert: ConvertSettings = ConvertSettings()
    caption: CaptionSettings = CaptionSettings()
    merge_view: MergeViewSettings = MergeViewSettings()
    demo: DemoSettings = DemoSettings()
    inspect: InspectSettings = InspectSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is given: `resolve` reads the environment and the files itself, to know each value's source."""
        return (init_settings,)
