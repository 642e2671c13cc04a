"""Which column of a table is what, by its name: those of WebVid, Panda-70M, imagefolder and of most people's tables."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from aurora_cli.data.annotations.keys import looks_like, words_of
from aurora_cli.data.annotations.spans import LENGTHS, part_in
from aurora_cli.data.importing.conversation_table import TURNS
from aurora_cli.data.importing.format import Options
from aurora_cli.errors import UsageError

IMAGES = (
    "image", "images", "imagepath", "imagepaths", "imagefile", "imagename", "imagefilename", "img", "imgpath",
    "imgname", "picture", "photo",
)  # fmt: skip
VIDEOS = (
    "video", "videos", "videopath", "videopaths", "videofile", "videoname", "videofilename", "clip", "clippath",
    "clipname", "mp4",
)  # fmt: skip
FILES = ("filename", "file", "filepath", "path", "media", "mediapath", "relativepath", "relpath", "location")
VIDEO_IDS = ("videoid", "clipid", "youtubeid", "ytid", "vid")
IMAGE_IDS = ("imageid", "imgid")
RESPONSE = "response"
"""To what was asked: a `prompt` beside it, too."""
TEXTS = (
    "caption", "captions", "text", "texts", "description", "sentence", "sentences", "rawcaption", "longcaption",
    "detailedcaption", "densecaption", "captionstr", "recaption", "answer", RESPONSE, "comment", "title", "name", "txt",
    "raw",
)  # fmt: skip
QUESTIONS = ("question", "instruction")
QUESTION, ANSWER = "q", "a"
"""Video-ChatGPT's; too short to mean anything without each other."""
CHOICE = re.compile(r"a\d|(?:opt|option|choice)(?:\d|[a-e])")
"""A column of one of the answers that a question may have."""
CAPTIONED = "madeby"
"""A column of what `aurora caption --output` writes: its `prompt` is what was asked. Elsewhere a prompt may be what an
image was drawn from."""
ROW_IDS = ("id", "uid", "uuid", "key", "rowid", "sampleid", "captionid", "sentid", "senid")
SPLITS = ("split", "splits", "setname", "partition", "subset")
"""Say what a row is for: training, or a test that training should not see."""
FOLDERS = ("pagedir",)
"""WebVid's: the folder that `videoid` lies in."""


class Columns(NamedTuple):
    """Positions of the columns that are read; none: there is no such column."""

    names: tuple[str, ...]
    text: int
    image: int | None = None
    video: int | None = None
    file: int | None = None
    """Names an image or a video; its suffix says which."""
    id: int | None = None
    start: int | None = None
    end: int | None = None
    span: int | None = None
    folder: int | None = None
    group: int | None = None
    question: int | None = None
    """What is asked about the medium; none, or an empty cell: a question is drawn."""
    rows: int | None = None
    """Says which rows are taken."""
    rows_value: str | None = None
    """What it has in those."""

    @property
    def used(self) -> dict[str, str]:
        """What is read of a row -> the column's name."""
        fields = (field for field in self._fields if field not in ("names", "rows_value"))
        return {field: self.names[at] for field in fields if (at := getattr(self, field)) is not None}

    @property
    def line(self) -> str:
        """What is shown of them before anything is written."""
        used = ", ".join(f"{field} from {name!r}" for field, name in self.used.items())
        rest = [name for name in self.names if name not in self.used.values()]
        times = [name for name in rest if self.is_of_videos and (part_in(name) or looks_like(name) == "time")]
        rest = [name for name in rest if name not in times]
        line = f"columns: {used}" + (f"; not read: {', '.join(map(repr, rest))}" if rest else "")
        if self.rows is None and (splits := [name for name in rest if plain_name(name) in SPLITS]):
            line += f"; rows of every {splits[0]!r} (--rows {splits[0]}=VALUE takes some)"
        if self.is_of_videos and not {"start", "end", "span"}.isdisjoint(self.used):
            line += "; the times are parts of the videos (--whole-videos: they are cut already)"
        return line + (f"; NOT read, that look as if they were times: {', '.join(map(repr, times))}" if times else "")

    @property
    def is_of_videos(self) -> bool:
        """Whether a row may be about a video, of which a part may be meant."""
        return self.video is not None or self.file is not None


def find_columns(names: Sequence[str], options: Options, source: str) -> Columns:
    """The columns of a table with these names.

    Raises:
        UsageError: there is no column of a name that is given, or none whose name says what it holds.
    """
    plain = [plain_name(name) for name in names]

    def given(name: str | None, flag: str) -> int | None:
        if name is None:
            return None
        if name not in names:
            raise UsageError(f"{flag} {name}: {source} has no such column; it has {', '.join(map(repr, names))}")
        return list(names).index(name)

    def first(words: Sequence[str]) -> int | None:
        return next((plain.index(word) for word in words if word in plain), None)

    image, video = given(options.image_column, "--image-column"), given(options.video_column, "--video-column")
    file = folder = None
    if image is None and video is None:
        image, video = first(IMAGES), first(VIDEOS)
        if image is None and video is None:
            file = first(FILES)
        if image is None and video is None and file is None:
            video, folder = first(VIDEO_IDS), first(FOLDERS)
            image = first(IMAGE_IDS) if video is None else None
    are_short = {QUESTION, ANSWER} <= {*plain}
    question = given(options.question_column, "--question-column")
    if question is None:
        known = (*QUESTIONS, QUESTION) if are_short else QUESTIONS
        is_answered = CAPTIONED in plain or RESPONSE in plain
        question = first((*known, "query", "prompt") if is_answered else known)
    taken = {image, video, file, folder, question}
    text = given(options.text_column, "--text-column")
    if text is None:
        words = (*TEXTS, ANSWER) if are_short else TEXTS
        text = next((at for word in words if (at := first([word])) is not None and at not in taken), None)
        if text is not None and plain[text] == "answer":
            _check_no_choices(source, names, names[text])
    if image is None and video is None and file is None:
        raise _no_column(source, names, "images or videos", "--image-column NAME, or --video-column NAME")
    if text is None and (turns := [name for name in names if name in TURNS]):
        raise _conversations(source, turns[0])
    if text is None:
        raise _no_column(source, names, "captions", "--text-column NAME")
    has_no_parts = options.whole_videos or (image is not None and video is None)
    times = {} if has_no_parts else {part_in(name): at for at, name in reversed([*enumerate(names)])}
    if "start" in times and not {"end", "both"} & times.keys():
        _check_no_length(source, names, names[times["start"]])
    return Columns(
        names=tuple(names),
        text=text,
        image=image,
        video=video,
        file=file,
        id=next((at for at in map(plain.index, filter(plain.__contains__, ROW_IDS)) if at not in (*taken, text)), None),
        start=times.get("start"),
        end=times.get("end"),
        span=times.get("both"),
        folder=folder,
        group=given(options.group_column, "--group-column"),
        question=question,
        rows=None if options.rows is None else given(options.rows[0], "--rows"),
        rows_value=None if options.rows is None else options.rows[1],
    )


def plain_name(name: str) -> str:
    """
    >>> plain_name("Video ID"), plain_name("image_path")
    ('videoid', 'imagepath')
    """
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _conversations(source: str, turns: str) -> UsageError:
    return UsageError(
        f"{source}: its column {turns!r} holds conversations, and not as lists of turns",
        hint="They are read from .jsonl, a record a line, and from .parquet, as lists of objects.",
    )


def _check_no_choices(source: str, names: Sequence[str], answer: str) -> None:
    """
    Raises:
        UsageError: the answer is one of several that other columns hold, and may be no more than its number.
    """
    choices = [name for name in names if CHOICE.fullmatch(plain_name(name))]
    if len(choices) > 1:
        raise UsageError(
            f"{source}: {answer!r} may only say which of {', '.join(map(repr, choices))} is right",
            hint=f"--text-column {shlex.quote(answer)} takes it as it is; else write the words of the right one.",
        )


def _check_no_length(source: str, names: Sequence[str], start: str) -> None:
    """
    Raises:
        UsageError: of parts of videos there is a start and, it seems, a length, which may as well be the whole video's.
    """
    if lengths := [name for name in names if words_of(name) & LENGTHS]:
        raise UsageError(
            f"{source}: {start!r} without an end, beside {lengths[0]!r}, which may be the part's or the video's",
            hint=f"Add a column `end`; or leave {lengths[0]!r} out, and each part goes on to the end of its video;"
            " or --whole-videos, for what is cut already.",
        )


def _no_column(source: str, names: Sequence[str], what: str, flag: str) -> UsageError:
    listed = ", ".join(map(repr, names))
    addresses = [name for name in names if what != "captions" and plain_name(name).endswith(("url", "urls"))]
    saved = f"\nMedia at addresses ({addresses[0]!r}) are to be saved as files first." if addresses else ""
    return UsageError(
        f"{source}: it is unclear which column names the {what}; there are {listed}", hint=f"Say so: {flag}{saved}"
    )
