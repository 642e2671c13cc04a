#!/usr/bin/env bash
# pyarrow 26.0.1, CPython 3.11 (2026-11-28).
#
# Zstandard through Arrow, in both directions:
# 1. pyarrow.CompressedInputStream.read(n) that meets broken or missing data raises, and with the error goes what the same
#    call had decompressed before it: up to n bytes that are whole, and that a smaller read would have returned. Whoever
#    wants everything before the damage reads again from the start, and in small steps at the end.
# 2. pyarrow.Codec("zstd") and CompressedOutputStream write frames without the checksum that the `zstd` program writes by
#    default: a flipped bit among stored bytes decompresses without an error, into other bytes.
#
# Seen with 300,000 bytes that do not compress, cut behind 250,000:
#     read(300000) returns nothing, read(1000) returns 249,000 first · a flipped bit: no error, 1 byte differs
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1
"$folder/env/bin/python" - <<'END'
import io
import random

import pyarrow

print("pyarrow", pyarrow.__version__)
raw = random.Random(0).randbytes(300_000)
packed = pyarrow.Codec("zstd").compress(raw, asbytes=True)


def readable(content: bytes, step: int) -> int:
    """Bytes that come before the error, in reads of `step`."""
    stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(io.BytesIO(content), mode="r"), "zstd")
    total = 0
    try:
        while piece := stream.read(step):
            total += len(piece)
    except OSError as error:
        print(f"read({step:,}): {total:,} bytes, then {error}")
        return total
    raise AssertionError("changed: a cut stream ends without an error")


assert readable(packed[:250_000], 300_000) == 0, "changed: a large read keeps what came before the cut"
assert readable(packed[:250_000], 1_000) > 100_000, "changed: small reads lose more"

flipped = bytearray(packed)
flipped[150_000] ^= 1
after = pyarrow.Codec("zstd").decompress(bytes(flipped), decompressed_size=len(raw), asbytes=True)
differing = sum(one != other for one, other in zip(raw, after, strict=True))
print(f"a flipped bit: no error, {differing} byte differs")
assert differing == 1, "changed: frames have a checksum"
END
