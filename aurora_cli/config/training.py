"""Settings of the network and its training: model, optimization, data, checkpoints.

Paths that are relative start at the workspace. `None` means what the docstring says, never "unknown".
"""

from typing import Literal

from pydantic import Field

from aurora_cli.config.section import (
    LocalPath,
    MayChange,
    Names,
    Number,
    OutputFolder,
    PathOrUrl,
    PathTexts,
    Precision,
    Section,
    Triple,
    YamlOutput,
)
from aurora_cli.io.json_files import JsonObject

KeepBest = Literal["validation_loss", "loss", "cider", "bleu_4", "rouge_l", "repetition"]
"""Metrics of metrics.jsonl by which one checkpoint is better than another."""


class ModelSettings(Section):
    """Which network: a vision tower, a projector and a language model."""

    vision_tower: str = "apple/DFN5B-CLIP-ViT-H-14-378"
    """Folder or hub id of a CLIP, SigLIP or DINOv2 model."""

    vision_config: JsonObject | None = None
    """The config of such a tower (`model_type` says its kind) to start from at random, instead of `vision_tower`."""

    language_model: str = "lmsys/vicuna-7b-v1.5-16k"
    """Folder or hub id of a causal language model."""

    text_config: JsonObject | None = None
    """A language model's config (by `model_type`) to start from at random, instead of `language_model`."""

    tokenizer: MayChange[str | None] = None
    """Folder or hub id of the tokenizer; none: the language model's."""

    feature_layer: int = Field(default=-2, le=-1)
    """The hidden state that the projector reads, from the end; layers behind it never run."""

    image_size: int = Field(default=378, ge=14)
    """Side in pixels that a frame is padded to a square and resized to."""

    image_mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    """Mean of the red, green and blue channels (of 0..1), subtracted, and the colour of the padding."""

    image_std: Triple = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of the channels (of 0..1), divided by."""


class ModuleTraining(Section):
    """How one part of the network trains."""

    lr: float = Field(gt=0.0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay (AdamW) of matrices; norms and biases never decay."""


class Lora(Section):
    """Low-rank adapters instead of a part's own weights."""

    rank: int = Field(default=16, ge=1)
    """Rank of a weight's update: the lower, the smaller the adapter."""

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
    """Stage: a file of the preset (projection, vision, language), or all of them, one after another."""

    after: MayChange[str | None] = None
    """The stage whose newest weights this one starts from; none: the preset's models."""

    init_from: MayChange[str | None] = None
    """Folder (run, checkpoint, xtuner, huggingface), its URL, or hub id to start from, instead of `after`."""

    data: MayChange[PathTexts] = ()
    """Merged folders, `:weight` behind one repeats it that often; none: every tokenized/<stage>/*/merged."""

    media_root: MayChange[PathOrUrl | None] = None
    """Folder that images and videos are named from, or a tar with an index, or the URL of either (`s3://`); none: the
    annotation file's folder."""

    run_dir: MayChange[OutputFolder | None] = None
    """Where the run writes; none: runs/<stage>."""

    projector: ModuleTraining | None = None
    """How the projector trains; none: it is frozen."""

    projector_start: MayChange[Literal["fitted", "random"]] = "fitted"
    """A new projector between two models is drawn at random, and `fitted` to the features of 64 of the run's frames and
    to the word embeddings, or left so."""

    vision_tower: ModuleTraining | None = None
    """How the vision tower trains; none: it is frozen."""

    language_model: ModuleTraining | None = None
    """How the language model trains; none: it is frozen."""

    lora: LoraSettings = LoraSettings()

    quantize_base: Literal["nf4", "int8"] | None = None
    """Keep the language model's frozen layers in 4 or 8 bits (bitsandbytes); adapters or other parts learn on them."""

    epochs: MayChange[float] = Field(default=1.0, gt=0.0)
    """Times through the data."""

    max_steps: MayChange[int | None] = Field(default=None, ge=1)
    """Stop after this many optimizer steps, and plan the schedule for them; none: `epochs` decides."""

    new_template: MayChange[bool] = False
    """Whether the data may be written with another template than the weights that the stage starts from learned."""

    grow_vocabulary: bool = False
    """Make embeddings, the mean of the others, for tokens that were added to the tokenizer; off: refuse them."""

    global_batch_packs: int = Field(default=16, ge=1)
    """Packs an optimizer step, over all processes."""

    micro_batch_packs: MayChange[int] = Field(default=1, ge=1)
    """Packs that a process takes through the network at once."""

    pack_tokens: int = Field(default=4096, ge=16)
    """Text and visual tokens that one pack holds at most."""

    pack_frames: int = Field(default=256, ge=1)
    """Frames that one pack holds at most."""

    warmup_ratio: float = Field(default=0.03, ge=0.0, lt=1.0)
    """Share of the steps in which the rate rises from 0; it then falls to 0 along a cosine."""

    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay of its two moments."""

    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps AdamW's two moments in 8 bits (bitsandbytes): 2 bytes a weight instead of 8."""

    distill_ratio: Number | None = Field(default=None, gt=0.0, le=1.0)
    """One of the ratios of a mixture (`merging.kept_ratio`), mostly the largest: steps at smaller ones also learn from
    what the model itself says at this one, by KL divergence on the target tokens. None: from the captions alone."""

    distill_weight: float = Field(default=1.0, gt=0.0)
    """Weight of that divergence, beside the cross-entropy."""

    distill_temperature: float = Field(default=1.0, gt=0.0)
    """That both distributions are softened by; the divergence is multiplied by its square, so that gradients stay as
    large (Hinton et al., arXiv 1503.02531)."""

    max_grad_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this global norm."""

    max_loss_jump: MayChange[float | None] = Field(default=10.0, gt=0.0)
    """The run stops at a step whose loss is this many nats above the mean of the last 50 or so; none: never."""

    precision: MayChange[Precision] = "auto"
    """Precision of the computation; weights are kept in fp32. `auto`: bf16 on CUDA, fp32 on a CPU."""

    gradient_checkpointing: MayChange[bool] = False
    """Compute activations a second time in the backward pass instead of keeping them."""

    cache_features: MayChange[bool] = False
    """Where the vision tower is frozen, keep what it gives in runs/features (or on `scratch`) and read it instead of
    pixels later."""

    cache_features_gb: MayChange[float | None] = Field(default=None, gt=0.0)
    """Disk (10^9 bytes) for all features there; unset: half of what would be free without them."""

    scratch: MayChange[LocalPath | None] = None
    """Folder on a disk of each machine for what training can make again: plans of packs, and kept features, of which
    each machine then has its own. None: in runs/, where all machines share them."""

    tight_memory: MayChange[bool] = False
    """On a CPU: give back at once what is freed, for a third more CPU time; up to half of the memory is holes else."""

    seed: int = Field(default=0, ge=0)
    """Seed of the order of samples, dropout and random weights."""

    deepspeed: MayChange[str | None] = None
    """none, zero1, zero2, zero2_offload, zero3, zero3_offload or a JSON file; unset: none for one process, or zero2."""

    num_processes: MayChange[int | None] = Field(default=None, ge=1)
    """Processes to start; unset: one a GPU, or one."""

    plan: MayChange[bool] = False
    """Only an estimate: parameters, memory, tokens, steps, FLOPs and hours, disk. Touches nothing."""

    fit: MayChange[str | None] = None
    """With `plan`: memory of one device, like 24GB, or gpu:24GB for a GPU that is not here; says which settings fit."""

    write: MayChange[YamlOutput | None] = None
    """File for the first settings that `fit` finds, to be used with `--config`."""

    flops_per_s: MayChange[float | None] = Field(default=None, gt=0.0)
    """FLOP/s that a process is taken to reach in `plan`; none: 2e14 on a GPU (an H100 in bf16: 2e14 to 5e14), on a CPU
    half of what a second of multiplying shows."""

    resume: MayChange[PathOrUrl] = "auto"
    """`auto` goes on from the newest checkpoint, `never` starts afresh, or a checkpoint's folder."""

    trackers: MayChange[Names] = ("tensorboard",)
    """Experiment trackers by accelerate's names (wandb, trackio, mlflow, ...); TensorBoard's files lie in the run."""

    callbacks: MayChange[JsonObject] = Field(default_factory=dict)
    """Options of added callbacks, `train.callbacks.<name>.<option>`; they run where they are named, null: not."""

    samples_every: MayChange[int] = Field(default=500, ge=0)
    """Optimizer steps between captions of fixed images and videos, into `samples/` of the run; 0: never."""

    samples: MayChange[int] = Field(default=4, ge=1)
    """Images and videos that these captions are of: held-out ones if there are any."""

    evaluate_every: MayChange[int] = Field(default=0, ge=0)
    """Optimizer steps between scores (CIDEr-D, BLEU-4, ROUGE-L, repetition) of captions of some validation samples; the
    last step has them too. 0: never."""

    evaluate_samples: MayChange[int] = Field(default=32, ge=1)
    """Images and videos that these scores are of, the same all through the run."""

    live: MayChange[bool | None] = None
    """Draw the run in the terminal: curves, captions, rates, when it ends; off: a bar. Unset: where stderr is a
    terminal, and neither NO_COLOR nor CI is set."""

    watchdog_s: MayChange[float] = Field(default=1800.0, gt=0.0)
    """Seconds that a step may take before every process prints where it is and the run ends."""


class DataSettings(Section):
    """How training samples are read."""

    batching: Literal["packed", "grouped", "padded"] = "packed"
    """`packed` fills packs to the token, `grouped` pads samples of like length, `padded` takes them as they come."""

    too_long: Literal["cut", "reject"] = "cut"
    """A sample above `train.pack_tokens`: its last answer is cut at the end, or it is left out."""

    frame_sampling: Literal["timestamp", "uniform", "fps"] = "timestamp"
    """Which frames of a video are taken, as many as were tokenized: `timestamp` spreads them evenly over its time,
    `uniform` over its frames (the same unless the rate varies), `fps` takes `data.fps` a second."""

    fps: float = Field(default=1.0, gt=0.0)
    """Frames a second for `frame_sampling: fps`; a video too long for them is spread evenly, a short one repeats."""

    max_bad_share: MayChange[float] = Field(default=0.01, ge=0.0, le=1.0)
    """Share of a run's images, frame files and videos that cannot be read, above which it stops."""

    validation: MayChange[Names] = ("auto",)
    """Tokenized or merged folders that are not trained on, whose loss is measured before the first step and at every
    checkpoint; `auto`: every tokenized/validation/<stage>/*/merged, as `import --validation` fills them; `none`."""

    validation_share: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Share of the training samples that is not trained on, and measured as `data.validation` is; those with an image,
    a video or a `group` in common lie on one side."""

    workers: MayChange[int] = Field(default=2, ge=0)
    """Loader processes beside each training process; 0 reads in the training process itself."""


class CheckpointSettings(Section):
    """When training saves."""

    every: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints; the last step always saves."""

    keep: int = Field(default=2, ge=1)
    """Newest checkpoints that stay."""

    keep_best: KeepBest = "validation_loss"
    """What the best checkpoint is known by, which stays beside them where that is measured: the lowest loss or
    repetition, the highest of the others. The scores of captions take `train.evaluate_every`."""

    copy_to: PathOrUrl | None = None
    """Folder on another disk, or URL of one in a bucket, that every checkpoint is copied into while training goes on,
    as `<stage>/step-*`."""
