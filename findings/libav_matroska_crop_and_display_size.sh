#!/usr/bin/env bash
# PyAV 13.1.0 (FFmpeg 7.0), 14.2.0, 18.1.0 (FFmpeg 8); CPython 3.11 (2026-11-28).
#
# A Matroska file of 128x96 pixels whose track says "crop 16 on each side, display at 128x96" (what mkvmerge 74 writes for
# `--cropping 0:16,16,16,16`). RFC 9559: the display size is that of the cropped frame, so 96x64 pixels fill 4:3 and a pixel
# is 8:9. The same file, by the FFmpeg inside PyAV:
#   - FFmpeg 7.0 says that a pixel is 1:1, 7.1 and later say 8:9: whoever scales by `sample_aspect_ratio` gets another shape
#     after an upgrade;
#   - neither crops: frames come with all of their 128x96 pixels, so that 8:9 is right only for whoever crops them himself
#     (`codecpar` has no crop, and PyAV gives no access to the stream's side data).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
for version in 13.1.0 14.2.0 18.1.0; do
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/av-$version" av==$version
done
PYTHONPATH="$folder/av-18.1.0" "$folder/env/bin/python" - "$folder/cropped.mkv" <<'END'
import sys
from fractions import Fraction

import av
import numpy as np

path = sys.argv[1]
with av.open(path, "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
    for number in range(3):
        frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 80, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def element(kind: str, value: int) -> bytes:
    return bytes.fromhex(kind) + b"\x81" + bytes([value])


# The track's own settings of width and height are followed by what else its video says: crops and the display size go into
# the room of a checksum before, and of a void and defaults behind, so that no length and no position moves.
content = bytearray(open(path, "rb").read())
tracks = content.index(b"\x16\x54\xae\x6b\x40") + 6
length = int.from_bytes(content[tracks - 2 : tracks]) & 0x3FFF
entry = bytes(content[tracks + 6 : tracks + length])
old = bytes.fromhex("e08a b08180 ba8160 54b28104 55ee8100 ec01000000000000020000")
size = element("b0", 128) + element("ba", 96)
crops = b"".join(element(kind, 16) for kind in ("54cc", "54dd", "54bb")) + bytes.fromhex("54aa820010")
new = bytes.fromhex("e09f") + size + crops + element("54b0", 128) + element("54ba", 96)
assert old in entry and entry.startswith(b"\xae\x01")
content[tracks : tracks + length] = b"\xae\x01" + (length - 9).to_bytes(7) + entry[9:].replace(old, new)
open(path, "wb").write(content)
END
cat >"$folder/look.py" <<'END'
import sys

import av

with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    print(f"PyAV {av.__version__}, libavformat {av.library_versions['libavformat']}:", end=" ")
    print(f"a pixel is {stream.sample_aspect_ratio}, a frame {frame.width}x{frame.height}")
    assert (frame.width, frame.height) == (128, 96), "changed: frames come cropped"
    assert str(stream.sample_aspect_ratio) == sys.argv[2], "changed: the shape of a pixel"
END
for expected in 13.1.0=1 14.2.0=8/9 18.1.0=8/9; do
  PYTHONPATH="$folder/av-${expected%=*}" "$folder/env/bin/python" "$folder/look.py" "$folder/cropped.mkv" "${expected#*=}"
done
