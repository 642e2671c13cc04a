#!/usr/bin/env bash
# Pillow 13.0.0, CPython 3.11 (2026-11-28).
#
# A grey PNG can name one level that is transparent (tRNS). Pillow brings pixels of two and four bits to eight, and leaves
# the key as it stands in the file: level 1 of 2 bits becomes 85, the key stays 1, and convert("RGBA") hides nothing. Of
# 16 bits it hides nothing either. Keys of one and eight bits are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pillow==13.0.0
"$folder/env/bin/python" - <<'END'
import io
import struct
import zlib

from PIL import Image


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(depth, row, key):
    """Two grey pixels; the second has the level of the key."""
    header = struct.pack(">IIBBBBB", 2, 1, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


rows = {1: (b"\x40", 1), 2: (b"\x10", 1), 4: (b"\x01", 1), 8: (b"\x00\x55", 0x55), 16: (struct.pack(">HH", 0, 40000), 40000)}
hidden = {}
for depth, (row, key) in rows.items():
    image = Image.open(io.BytesIO(png(depth, row, key)))
    alpha = image.convert("RGBA").getpixel((1, 0))[3]
    hidden[depth] = alpha == 0
    print(f"{depth:2} bits: mode {image.mode}, key {image.info['transparency']}, alpha of the hidden pixel {alpha}")
assert hidden == {1: True, 2: False, 4: False, 8: True, 16: False}, "changed: keys of grey PNGs"
END
