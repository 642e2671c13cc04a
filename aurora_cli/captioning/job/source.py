"""The model of one session or several: opened once, and its weights read when they are first needed."""

from functools import cached_property

from PIL import Image

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.loading import build_captioner, slow_dtype
from aurora_cli.captioning.options import CaptionOptions, options_of
from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.stated.processors import pixels_note
from aurora_cli.config.settings import CaptionSettings, Settings
from aurora_cli.console import Reporter
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE


class CaptionerSource:
    """A checkpoint, and the captioner that it becomes."""

    def __init__(self, settings: Settings, model: str, reporter: Reporter, *, warms_up: bool = False) -> None:
        """`warms_up`: what is done once, at a captioner's first caption, is done before anything is measured.

        Raises:
            DataError: the model is damaged.
        """
        self._settings, self._reporter, self._warms_up = settings, reporter, warms_up
        self.checkpoint = open_checkpoint(model, OpenOptions(settings.workspace, None, settings.model))
        if (note := pixels_note(self.checkpoint.path)) is not None:
            reporter.info(note)
        template = self.options(settings.caption).template
        if self.checkpoint.prompting is None and template != OWN_TEMPLATE:
            reporter.info(
                f"{model}: does not say which template it was trained with; {template} is used"
                " (--set tokenize.template=...)"
            )

    def options(self, caption: CaptionSettings) -> CaptionOptions:
        """What decides a caption by these settings."""
        return options_of(self.checkpoint, caption, self._settings.tokenize, self._settings.data)

    @cached_property
    def captioner(self) -> Captioner:
        """Its own options are those of the settings; a session names others with each call."""
        settings, caption = self._settings, self._settings.caption
        captioner = build_captioner(
            self.checkpoint,
            self.options(caption),
            root=settings.workspace,
            fallback_tokenizer=settings.model.tokenizer,
            dtype=caption.dtype,
            device=caption.device,
            device_map=caption.device_map,
        )
        if (warning := slow_dtype(captioner)) is not None:
            self._reporter.warning(warning)
        if self._warms_up:
            captioner.caption([Image.new("RGB", (captioner.image_settings.image_size,) * 2)], max_new_tokens=2)
        return captioner
