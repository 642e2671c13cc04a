"""What an export's files say to its server, and what a server's or a request's `mm_processor_kwargs` may change of it.

Shapes: L layers of the tower that run.
"""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from aurora_cli.checkpoints.facts import FACTS_FILE, WeightFacts
from aurora_cli.checkpoints.stated.towers import CONFIG_FILE, stated_pixels
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.preparing import TokenizeSettings
from aurora_cli.config.settings import ModelSettings
from aurora_cli.config.using import CaptionSettings
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.errors import UsageError
from aurora_cli.models.config import AuroraCapConfig, beyond_trained

ARCHITECTURE = "AuroraCapForConditionalGeneration"
"""What vLLM calls the plugin's model."""

CHANGES = ("token_kept_ratio", "slowfast", "frames")
"""Keys of `mm_processor_kwargs`; values as those of `aurora caption`."""


class MediaRequest(NamedTuple):
    """How the media of one request are seen."""

    merging: TokenMerging
    frames: int
    """Of a video."""

    def frames_of(self, kind: MediaKind) -> int:
        return self.frames if kind == "video" else 1


class MediumPlan(NamedTuple):
    """What the tower does with the frames of one medium."""

    first_is_whole: bool
    """Nothing of the first frame is merged."""
    removals: tuple[int, ...]
    """(L,) tokens that each layer merges away from any other frame."""

    @classmethod
    def of_numbers(cls, numbers: list[int]) -> "MediumPlan":
        return cls(bool(numbers[0]), tuple(numbers[1:]))

    @property
    def numbers(self) -> list[int]:
        """(1 + L,): a plan as it travels with pixels, from vLLM's front to its engine."""
        return [int(self.first_is_whole), *self.removals]

    def removals_of(self, frame: int) -> tuple[int, ...]:
        return (0,) * len(self.removals) if self.first_is_whole and frame == 0 else self.removals


class ServedModel(NamedTuple):
    """An export as its server sees it."""

    config: AuroraCapConfig
    model: ModelSettings
    """Of it, size and colours of frames."""
    merging: TokenMerging
    frames: int
    """Of a video, as in training."""
    trained_ratios: tuple[float, ...] = ()
    """Of weights that were trained at several kept ratios."""

    @property
    def side(self) -> int:
        return self.model.image_size

    def requested(self, changes: Mapping[str, object]) -> MediaRequest:
        """
        Raises:
            UsageError: something else than `CHANGES`, or a value outside of its range.
        """
        unknown = [name for name in changes if name not in CHANGES]
        if unknown:
            raise UsageError(f"mm_processor_kwargs: {unknown[0]!r} is none of {', '.join(CHANGES)}")
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            checked = CaptionSettings.model_validate(given)
        except ValidationError as error:
            finding = error.errors(include_url=False)[0]
            raise UsageError(
                f"mm_processor_kwargs: {finding['loc'][0]} is {finding['input']!r}: {finding['msg']}"
            ) from error
        merging = {"kept_ratio": checked.token_kept_ratio, "slowfast": checked.slowfast}
        merging = {name: value for name, value in merging.items() if value is not None}
        if checked.token_kept_ratio is not None:
            _warn_beyond(checked.token_kept_ratio, self.trained_ratios)
        return MediaRequest(self.merging.model_copy(update=merging), checked.frames or self.frames)

    def plan(self, kind: MediaKind, request: MediaRequest) -> MediumPlan:
        """
        Raises:
            SettingsError: the tower cannot merge down to the kept ratio.
        """
        removals = self.config.removals(self.side, self.side, request.merging)
        return MediumPlan(request.merging.slowfast and request.frames_of(kind) > 1, removals)

    def tokens(self, kind: MediaKind, request: MediaRequest) -> list[int]:
        """Visual tokens of each frame.

        Raises:
            SettingsError: as `plan`.
        """
        counts = self.config.frame_token_counts(self.side, self.side, request.merging)
        return counts.per_frame([request.frames_of(kind)])


def served_model(name: str, config: AuroraCapConfig, revision: str | None = None) -> ServedModel:
    """What the folder or the hub's repository of that name says beside its config.

    Raises:
        DataError: one of its files is damaged.
    """
    folder = _folder(name, revision)
    facts = WeightFacts.read_if_there(folder / FACTS_FILE) or WeightFacts()
    vision: Any = config.vision_config
    model = facts.model
    if model is None:
        pixels = stated_pixels((folder,), vision.to_dict())
        model = ModelSettings(image_mean=pixels.mean, image_std=pixels.std)
    side = config.image_size or vision.image_size
    frames = TokenizeSettings().frames if facts.prompting is None else facts.prompting.frames
    return ServedModel(
        config,
        model.model_copy(update={"image_size": side}),
        facts.merging or config.token_merging,
        frames,
        facts.trained_ratios,
    )


@functools.lru_cache(maxsize=1000)
def _warn_beyond(kept_ratio: float, trained: tuple[float, ...]) -> None:
    """Once a ratio, into the server's log."""
    if warning := beyond_trained(kept_ratio, trained):
        logging.getLogger("vllm.aurora").warning(warning)


def _folder(name: str, revision: str | None) -> Path:
    """Where the files of a model lie here; of one on the hub, what is not fetched yet is."""
    if Path(name).is_dir():
        return Path(name)
    from transformers.utils.hub import cached_file

    for file in (FACTS_FILE, "preprocessor_config.json"):
        cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    found = cached_file(name, CONFIG_FILE, revision=revision)
    return Path(str(found)).parent
