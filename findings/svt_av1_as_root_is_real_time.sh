#!/usr/bin/env bash
# PyAV 18.1.0 with its SVT-AV1, CPython 3.11, as root (2026-11-28).
#
# To encode AV1 by libsvtav1 as root (as in most containers) gives the thread that calls it the real-time policy SCHED_FIFO
# with priority 99, and leaves it so when the file is closed: whatever that thread starts from then on, decoders, loaders,
# browsers, comes before everything else on the machine, and a spinning child leaves other processes 5 % of a core. It says
# only "Failed to set thread priority: Invalid argument". libx264, libx265 and libvpx-vp9 leave the policy alone.
# To be safe: read `os.sched_getscheduler(0)` and `os.sched_getparam(0)` before, and set them again after.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "only root is treated so: nothing to see here"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check av==18.1.0 numpy==2.4.6
cat >"$folder/encode.py" <<'END'
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np

codec, file = sys.argv[1:]
assert os.sched_getscheduler(0) == os.SCHED_OTHER
with av.open(file, "w") as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
    for number in range(3):
        frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 80, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
policy, priority = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
look = "import os; print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)"
child = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
print(f"{codec}: policy {policy}, priority {priority}; of a process started afterwards: {' '.join(child)}")
expected = (os.SCHED_FIFO, 99) if codec == "libsvtav1" else (os.SCHED_OTHER, 0)
assert (policy, priority) == expected == tuple(map(int, child)), "changed"
END
for codec in libx264 libx265 libvpx-vp9 libsvtav1; do
  "$folder/env/bin/python" "$folder/encode.py" "$codec" "$folder/$codec.mkv" 2>"$folder/errors" || { cat "$folder/errors"; exit 1; }
done
