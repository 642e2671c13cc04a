"""Records of an annotation file in the words that `tokenize` would encode, their target text marked."""

from collections.abc import Callable

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.constants import IMAGE
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.annotations.sources import AnnotationSource
from aurora_cli.data.tokenization.preview import TARGET, mark_spans
from aurora_cli.data.tokenization.rows import with_frames_sampled
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, get_template, render
from aurora_cli.data.tokenization.tokenizer import find_tokenizer

Preview = Callable[[Record], tuple[int, str]]
"""The answers of a record, and its text with the target text between marks. Raises a Rejection where there is none."""


def preview_of(settings: Settings, source: AnnotationSource) -> Preview:
    """The preview in the template that `tokenize` would use.

    Raises:
        UsageError: there is no such template, or the tokenizer has none.
    """
    step = settings.tokenize
    in_order = step.image_places == "kept"
    if step.template == OWN_TEMPLATE:
        from aurora_cli.data.tokenization.chat_encoder import ChatEncoder

        name = settings.model.tokenizer or settings.model.language_model
        own = ChatEncoder(find_tokenizer(name, Workspace(settings.workspace)))

        def show_own(record: Record) -> tuple[int, str]:
            record = with_frames_sampled(record, step.frames)
            text_segments, _ = own.render(
                record, frames=step.frames, images_are_video=source.images_are_video, in_order=in_order
            )
            answers = sum(len(segment.targets) for segment in text_segments)
            return answers, IMAGE.join(mark_spans(segment.text, segment.targets) for segment in text_segments)

        return show_own
    template = get_template(step.template)

    def show(record: Record) -> tuple[int, str]:
        record = with_frames_sampled(record, step.frames)
        conversation = render(
            record, template, frames=step.frames, images_are_video=source.images_are_video, in_order=in_order
        )
        turns = [
            IMAGE.join(turn.prompt) + (TARGET.format(text=turn.answer) if turn.is_target else turn.answer)
            for turn in conversation.turns
        ]
        return len(turns), template.separator.join(turns)

    return show
