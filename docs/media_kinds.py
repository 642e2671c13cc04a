"""docs/reference/media.md: containers, codecs and oddities, and what is seen. A test makes each row and checks it."""

from typing import Literal, NamedTuple

Reader = Literal["decord", "PyAV", "Pillow", "none"]


class Row(NamedTuple):
    key: str
    """The test's maker goes by it."""
    medium: str
    oddity: str
    reader: Reader
    outcome: str


VIDEOS = (
    Row("h264-mp4", "H.264 in MP4, MOV, M4V", "", "decord", "as a player shows it"),
    Row("h264-mkv", "H.264 in MKV", "", "decord", "as a player shows it"),
    Row("vp8-webm", "VP8 in WebM, MKV", "", "decord", "as a player shows it"),
    Row("vp9-webm", "VP9 in WebM, MKV, MP4", "", "decord", "as a player shows it"),
    Row("av1-mp4", "AV1 in MP4, WebM, MKV", "", "decord", "as a player shows it"),
    Row("varying", "any of these", "frame rate varies", "decord", "frames by their times (`data.frame_sampling`)"),
    Row("late", "any of these", "first frame not at zero", "decord", "time counts from the first shown frame"),
    Row("turned", "MP4, MOV", "a quarter, half or three quarters turned", "decord", "upright"),
    Row("mirrored", "MP4, MOV", "mirrored, or mirrored and turned", "decord", "as a player shows it"),
    Row("oblong", "any", "pixels are not square", "decord", "as wide or high as a player shows it"),
    Row("resized", "any", "frames change their size", "decord", "all frames are resized to the first one's shape"),
    Row("held", "any", "the last frame is shown for long", "decord", "its time counts"),
    Row("deep", "H.264 of 10 bits", "", "decord", "levels brought to 8 bits"),
    Row("alpha", "VP9 with transparency", "", "decord", "the colours; transparency is not looked at"),
    Row(
        "narrow",
        "any, 96 or 144 pixels wide",
        "decord misreads rows of that length on some CPUs",
        "PyAV",
        "as a player shows it",
    ),
    Row("cut", "H.264 in MP4, MOV", "cut without encoding: an edit list hides some", "PyAV", "only shown frames count"),
    Row("slow", "H.264 in MKV", "less than a frame a second: decord makes up times", "PyAV", "frames by their times"),
    Row("hevc-open-mp4", "HEVC in MP4, MOV", "open groups (the default of x265)", "PyAV", "as a player shows it"),
    Row("hevc-open-mkv", "HEVC in MKV", "open groups", "PyAV", "as a player shows it"),
    Row("hdr", "HEVC in MP4", "HDR (PQ, HLG)", "PyAV", "levels as stored, in 8 bits: no tone mapping, so pale"),
    Row("mpeg4-avi", "MPEG-4 part 2 in AVI, MP4, MKV", "", "PyAV", "as a player shows it"),
    Row("h264-avi", "H.264 in AVI", "no times in the file", "PyAV", "frames by their number, at the file's rate"),
    Row("mpeg2-mkv", "MPEG-2 in MKV", "", "PyAV", "as a player shows it"),
    Row("mpeg2-mpg", "MPEG-1, MPEG-2 in MPG, VOB", "", "PyAV", "as a player shows it, decoded from the beginning"),
    Row("h264-ts", "H.264 in TS, M2TS", "", "PyAV", "as a player shows it, decoded from the beginning"),
    Row("wmv", "WMV", "", "PyAV", "as a player shows it, decoded from the beginning"),
    Row("flv", "FLV", "", "PyAV", "as a player shows it, decoded from the beginning"),
    Row("mjpeg-avi", "Motion JPEG in AVI, MOV", "", "PyAV", "as a player shows it"),
    Row("prores-mov", "ProRes in MOV", "", "PyAV", "as a player shows it"),
    Row("ffv1-mkv", "FFV1 in MKV", "", "PyAV", "as a player shows it"),
    Row("cropped-mkv", "MKV", "PixelCrop", "PyAV", "cropped; a display size is that of what remains (RFC 9559)"),
    Row("cropped-mov", "MP4, MOV", "clean aperture (`clap`)", "PyAV", "cropped"),
    Row("tracks", "MKV, MP4", "two tracks of moving images", "PyAV", "the default one, else the best (libav's rank)"),
    Row("broken-late", "any", "breaks off after the last wanted frame", "PyAV", "the wanted frames"),
    Row("broken-early", "any", "breaks off before a wanted frame", "none", "cannot be read"),
    Row("sound", "MP4, MP3", "no moving image", "none", "cannot be read"),
)

IMAGES = (
    Row("jpeg", "JPEG", "", "Pillow", "as it is; large ones are shrunk while decoding"),
    Row("held-sideways", "JPEG, PNG, WebP", "orientation in EXIF", "Pillow", "upright"),
    Row("cmyk", "JPEG", "CMYK", "Pillow", "as RGB"),
    Row("deep-grey", "PNG, TIFF", "16-bit grey", "Pillow", "scaled to 8 bits, not clipped"),
    Row("transparent", "PNG, WebP, GIF", "transparent", "Pillow", "over white"),
    Row("keyed", "PNG", "one grey or colour is transparent", "Pillow", "over white, at any depth"),
    Row("avif", "AVIF", "", "Pillow", "as it is"),
    Row("heic", "HEIC, HEIF", "", "Pillow", "as it is with `pip install 'aurora-cli[heif]'`, else cannot be read"),
    Row("gif", "GIF, WebP, APNG, AVIF", "several frames; the record says `video`", "Pillow", "frames by their times"),
    Row(
        "gif-image",
        "GIF, WebP, APNG, AVIF",
        "several frames; the record says `image`",
        "Pillow",
        "its first frame; `inspect --decode` and `tokenize --check-media` count them",
    ),
    Row("gif-caption", "GIF, WebP, APNG, AVIF", "several frames, in `aurora caption`", "Pillow", "a video"),
    Row("frames", "a folder of frames", "", "Pillow", "a video, evenly by number; it has no times"),
    Row("broken-image", "any", "breaks off", "none", "cannot be read"),
    Row("vector", "SVG, PSD, raw files of cameras", "", "none", "cannot be read"),
)

ABOUT = """
What `train`, `caption` and `inspect --decode` make of media. A test makes each row of these tables, and checks it.

What a player shows is what a model sees: which frames, in which order, at which time, which way up, in which shape. Two
decoders read videos. decord is fast, and is believed only where its frames were found to be the right ones: H.264, VP8,
VP9 and AV1 in MP4, MOV, MKV and WebM whose times begin at zero and ascend. PyAV reads all others. It believes a seek
only if every frame from the key frame on has the time that the container lists, and else decodes the video from its
beginning. So a long video without an index (TS, MPG, WMV, FLV) takes time; one that takes PyAV two minutes cannot be
read: put it into MP4 or MKV. Where decord fails, or gives no answer in ten seconds, PyAV reads the video.

"Cannot be read" is never an image of something else: the sample is taken out of the loss, counted, and listed in
`rejected.jsonl` ([training](../training.md#data)). Interlaced frames are not deinterlaced, subtitles are not drawn.
""".strip()


def page(generated: str) -> str:
    """The whole page; `generated` is its first line."""
    lines = [generated, "# Kinds of media", "", ABOUT, "", "## Videos", "", *_table(VIDEOS), "", "## Images", ""]
    return "\n".join([*lines, *_table(IMAGES)]) + "\n"


def _table(rows: tuple[Row, ...]) -> list[str]:
    head = ["| medium | oddity | read by | what is seen |", "| --- | --- | --- | --- |"]
    return head + [f"| {row.medium} | {row.oddity} | {row.reader} | {row.outcome} |" for row in rows]
