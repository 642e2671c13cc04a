"""Settings that hang on the parts of a network - a vision tower, a language model - taken from the parts' own files.

What a source says of a part counts only for the part that it names: where a higher source names another tower, the
preset's image size is that of a tower that is not there. So a derived value takes the place of what the preset or a
default says, and never of what stands in aurora.yaml, `--config`, a flag or `--set`, nor of what stands where the part
is named.
"""

from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from aurora_cli.checkpoints.locate import locate_description
from aurora_cli.checkpoints.stated.captioners import StatedModel
from aurora_cli.checkpoints.stated.language_models import LanguageModel, read_language_model
from aurora_cli.checkpoints.stated.towers import CONFIG_FILE, Tower, read_tower
from aurora_cli.config.resolve import PRESET, Resolved
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import find_tokenizer
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.json_files import JsonObject, read_object
from aurora_cli.models.merge_plan import layers_before, num_visual_tokens
from aurora_cli.pipeline.text_table import aligned_left

TOWER, LANGUAGE_MODEL = "model.vision_tower", "model.language_model"
FLAGS = {TOWER: "--vision-tower", LANGUAGE_MODEL: "--language-model"}
CONFIGS = {TOWER: "model.vision_config", LANGUAGE_MODEL: "model.text_config"}
TOKENIZER, TEMPLATE = "model.tokenizer", "tokenize.template"
PIXELS = ("model.image_size", "model.image_mean", "model.image_std")
FEATURE_LAYER = "model.feature_layer"
MAX_LENGTH, PACK_TOKENS = "tokenize.max_length", "train.pack_tokens"

TEXT_ROOM = 512
"""Tokens of a pack beside the frames of one video: a question and a long caption."""
PACK_UNIT = 64
"""Packs are a multiple of it."""


class Row(NamedTuple):
    """A setting, and where it comes from."""

    setting: str
    value: str
    source: str
    instead_of: str | None = None
    """What the preset or a default says, where that is something else."""


@dataclass
class OwnSettings:
    """Settings as they become, and why."""

    resolved: Resolved
    settings: Settings
    rows: dict[str, Row] = field(default_factory=dict)
    of_weights: str | None = None
    """The file of a captioner that training starts from, or goes on from, which says the most."""
    note: str | None = None
    """What that captioner was shown otherwise than it is here."""

    def value(self, path: str) -> object:
        return attrgetter(path)(self.settings)

    def show(self, path: str, source: str | None = None) -> None:
        """A row of what stands."""
        self.rows[path] = Row(path, _shown(self.value(path)), source or self.resolved.origin(path))

    def put(self, path: str, value: object, source: str) -> None:
        """Set it, whoever said something else."""
        before = self.value(path)
        section, _, name = path.partition(".")
        inner = getattr(self.settings, section).model_copy(update={name: value})
        self.settings = self.settings.model_copy(update={section: inner})
        instead_of = f"{self.resolved.origin(path)}: {_shown(before)}" if before != value else None
        self.rows[path] = Row(path, _shown(value), source, instead_of)

    def stands(self, path: str, part_rank: int) -> bool:
        """Whether what was said of it counts before what the files of a part say, which a source of that rank names."""
        rank = self.resolved.rank(path)
        return rank > PRESET or rank >= part_rank

    def take(self, path: str, value: object, source: str, part_rank: int) -> None:
        """Set what a part's files say, unless what was said stands."""
        if not self.stands(path, part_rank):
            self.put(path, value, source)
            return
        origin = self.resolved.origin(path)
        self.show(path, origin if self.value(path) == value else f"{origin} (the weights' own: {_shown(value)})")

    def lines(self) -> list[str]:
        """What was decided: a table of what hangs on parts that are named; of weights one line on what differs."""
        rows = self.rows.values()
        if self.of_weights is not None or not _names_parts(self.resolved):
            differing = ", ".join(f"{row.setting} {row.value} ({row.instead_of})" for row in rows if row.instead_of)
            source = f" come from {self.of_weights}" if self.of_weights else ""
            lines = [f"settings that{source or ' differ'}: {differing}"] if differing else []
            return lines + ([] if self.note is None else [self.note])
        root = f"{self.settings.workspace.absolute()}/"
        table = [(row.setting, row.value, _with(row.source, row.instead_of).replace(root, "")) for row in rows]
        return ["settings that hang on the parts:", *aligned_left([("setting", "value", "from"), *table])]


def with_parts(resolved: Resolved) -> OwnSettings:
    """The settings without what lower sources say of parts that higher ones replace: configs, a tokenizer."""
    own = OwnSettings(resolved, resolved.settings)
    for part, config in CONFIGS.items():
        rank = resolved.rank(part)
        if rank > PRESET:
            own.show(part)
        if own.value(config) is not None and rank > resolved.rank(config):
            own.put(config, None, f"{part} is named")
            own.rows.pop(config)
    if resolved.rank(LANGUAGE_MODEL) > PRESET >= resolved.rank(TOKENIZER) and own.value(TOKENIZER) is not None:
        own.put(TOKENIZER, None, "the language model has its own")
    return own


def check_both(own: OwnSettings) -> None:
    """
    Raises:
        UsageError: one part is named, and the other would be random.
    """
    resolved = own.resolved
    random = [part for part, config in CONFIGS.items() if own.value(config) is not None]
    if len(random) == 1 and any(resolved.rank(part) > PRESET for part in CONFIGS):
        (part,) = random
        raise UsageError(
            f"{part}: {CONFIGS[part]} (from {resolved.origin(CONFIGS[part])}) says a random one, and the other part is "
            "named",
            hint=f"Name it too: {FLAGS[part]} DIR|ID",
        )


def take_text(own: OwnSettings) -> None:
    """Template and length of texts, of the language model's folder.

    Raises:
        UsageError: the hub has no such model.
        DataError: the folder does not say what it holds.
    """
    rank = own.resolved.rank(LANGUAGE_MODEL)
    wanted = [path for path in (TEMPLATE, MAX_LENGTH) if not own.stands(path, rank)]
    if own.value(CONFIGS[LANGUAGE_MODEL]) is not None or not wanted:
        return
    language = _language_model(own)
    if TEMPLATE in wanted:
        _take_template(own, language, rank)
    else:
        own.show(TEMPLATE)
    length = min(own.settings.tokenize.max_length, language.positions)
    own.take(MAX_LENGTH, length, _limit_of(own, length, language), rank)


def _take_template(own: OwnSettings, language: LanguageModel, rank: int) -> None:
    name, tokenizer = own.settings.model.language_model, own.settings.model.tokenizer
    if tokenizer is None:
        has_template = language.has_template
    else:
        name = tokenizer
        has_template = find_tokenizer(name, Workspace(own.settings.workspace)).chat_template is not None
    template = OWN_TEMPLATE if has_template else own.settings.tokenize.template
    source = f"{name} has its own" if has_template else f"{name} has none of its own"
    own.take(TEMPLATE, template, source, rank)


def take_pixels(own: OwnSettings) -> Tower | None:
    """Size, mean and deviation of frames, of the tower's folder; the tower, if something hangs on it.

    Raises:
        UsageError: the tower is of another kind, or patches do not divide the size that was said; or its layers are too
            few to merge as many patches as the settings say.
        DataError: the folder does not say what it holds.
    """
    rank = own.resolved.rank(TOWER)
    if own.value(CONFIGS[TOWER]) is not None or all(own.stands(path, rank) for path in (*PIXELS, PACK_TOKENS)):
        return None
    tower = tower_of(own)
    assert tower is not None
    pixels, patch = tower.pixels, tower.patch_size
    size, source = pixels.size, pixels.sources["size"]
    if size % patch:
        source += f", in whole patches of {patch} px ({size} px are {size // patch} and a rest)"
        size -= size % patch
    own.take("model.image_size", size, source, rank)
    own.take("model.image_mean", pixels.mean, pixels.sources["mean"], rank)
    own.take("model.image_std", pixels.std, pixels.sources["std"], rank)
    layers_before(own.settings.model.feature_layer, tower.layers)
    own.show(FEATURE_LAYER)
    check_patches(own.settings.model.image_size, patch, own.resolved.origin("model.image_size"))
    _tokens_of_video(own.settings, tower, 1)
    return tower


def take_packs(own: OwnSettings, tower: Tower | None, rank: int | None = None) -> None:
    """Packs that hold a video of as many frames as are tokenized, if the language model has positions for it.

    `rank` is that of who names the parts, if it is not a source of settings.
    """
    if rank is None:
        rank = max(own.resolved.rank(TOWER), own.resolved.rank(LANGUAGE_MODEL))
    if tower is None or own.stands(PACK_TOKENS, rank) or own.value(CONFIGS[LANGUAGE_MODEL]) is not None:
        return
    settings = own.settings
    language = _language_model(own)
    frames = settings.tokenize.frames
    visual = _tokens_of_video(settings, tower, frames)
    room = -(-(visual + TEXT_ROOM) // PACK_UNIT) * PACK_UNIT
    usual = settings.train.pack_tokens
    tokens = min(max(usual, room), language.positions)
    source = f"a video of {frames} frames is {visual:,} tokens, beside {TEXT_ROOM} of text"
    if tokens == usual:
        source = own.resolved.origin(PACK_TOKENS)
    own.take(PACK_TOKENS, tokens, _limit_of(own, tokens, language, otherwise=source), rank)
    if tokens < visual:
        own.rows["tokenize.frames"] = Row(
            "tokenize.frames", str(frames), f"{source}, more than {tokens:,}: such videos are rejected; --frames fewer"
        )


def has_own_parts(own: OwnSettings) -> bool:
    """Whether the network is made of other parts than the preset's."""
    before = own.resolved.settings
    return _names_parts(own.resolved) or any(own.value(part) != attrgetter(part)(before) for part in CONFIGS)


def tower_of(own: OwnSettings) -> Tower | None:
    """The tower as its own folder describes it; none if it is random."""
    if own.value(CONFIGS[TOWER]) is not None:
        return None
    return read_tower(_folder_of(own, TOWER))


def take_captioner(own: OwnSettings, stated: StatedModel) -> None:
    """Pixels, feature layer and parts of a captioner that training starts from: they come with its weights."""
    model, source = stated.model, stated.source
    own.of_weights, own.note = source, stated.note
    above = PRESET + 1
    for path in (*PIXELS, FEATURE_LAYER):
        own.take(path, attrgetter(path.partition(".")[2])(model), source, above)
    for part, config in CONFIGS.items():
        name, described = (attrgetter(path.partition(".")[2])(model) for path in (part, config))
        if not name or (name, described) == (own.value(part), own.value(config)):
            continue
        if described is None and own.resolved.rank(part) <= PRESET:
            own.put(part, name, source)
            own.put(config, None, source)
            own.rows.pop(config)
            if part == LANGUAGE_MODEL and own.resolved.rank(TOKENIZER) <= PRESET:
                own.put(TOKENIZER, model.tokenizer, source)


def check_patches(image_size: int, patch_size: int, source: str) -> None:
    """
    Raises:
        UsageError: frames of this size are not whole patches.
    """
    rest = image_size % patch_size
    if rest:
        below, above = image_size - rest, image_size - rest + patch_size
        near = f"{below} or {above}" if below else str(above)
        raise UsageError(
            f"model.image_size: {image_size} (from {source}) is not a multiple of the tower's patch, {patch_size} px",
            hint=f"--set model.image_size={near.partition(' ')[0]}    (whole patches: {near})",
        )


def _language_model(own: OwnSettings) -> LanguageModel:
    model = own.settings.model
    return read_language_model(_folder_of(own, LANGUAGE_MODEL), with_tokenizer=model.tokenizer is None)


def language_config(own: OwnSettings) -> JsonObject:
    """The language model's config.json.

    Raises:
        DataError: there is none.
    """
    return read_object(_folder_of(own, LANGUAGE_MODEL) / CONFIG_FILE)


def _folder_of(own: OwnSettings, part: str) -> Path:
    """
    Raises:
        DataError: there is none of the part's name.
    """
    name = str(own.value(part))
    try:
        return locate_description(name, own.settings.workspace)
    except UsageError as error:
        raise UsageError(f"{part} (from {own.resolved.origin(part)}): {error.message}", hint=error.hint) from error
    except DataError as error:
        raise DataError(
            f"{part} (from {own.resolved.origin(part)}): {error.message}",
            hint=f"{FLAGS[part]} takes a folder, or a hub id like google/siglip2-base-patch16-224.",
        ) from error


def _tokens_of_video(settings: Settings, tower: Tower, frames: int) -> int:
    size, merging = settings.model.image_size, settings.merging.largest
    shape = (size, size, tower.patch_size, tower.layers, settings.model.feature_layer, tower.kind.class_token)
    merged = num_visual_tokens(*shape, merging)
    first = num_visual_tokens(*shape) if merging.slowfast and frames > 1 else merged
    return first + (frames - 1) * merged


def _limit_of(own: OwnSettings, tokens: int, language: LanguageModel, otherwise: str | None = None) -> str:
    if tokens == language.positions:
        return f"{own.settings.model.language_model} has {language.positions:,} positions"
    return otherwise or own.resolved.origin(MAX_LENGTH)


def _names_parts(resolved: Resolved) -> bool:
    return any(resolved.rank(part) > PRESET for part in CONFIGS)


def _with(source: str, instead_of: str | None) -> str:
    return source if instead_of is None else f"{source} ({instead_of})"


def _shown(value: object) -> str:
    """
    >>> _shown((0.5, 0.48145466, 1.0)), _shown(None)
    ('0.5 0.4815 1', 'none')
    """
    if isinstance(value, tuple):
        return " ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in value)
    return "none" if value is None else str(value)
