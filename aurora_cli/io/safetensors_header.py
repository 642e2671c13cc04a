"""The head of a safetensors file, which is written here tensor by tensor: a file is never in memory as a whole.

The format (huggingface/safetensors, README): 8 bytes with the length of the header, the header as JSON (type, shape
and place of every tensor), then the tensors' bytes. All of it is known before the first value is.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

PYTORCH: Mapping[str, str] = MappingProxyType({"format": "pt"})
"""What transformers asks for in `about`."""

_ITEM_BYTES = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def tensor_header(tensors: Iterable[tuple[str, str, Sequence[int]]], about: Mapping[str, str] = PYTORCH) -> bytes:
    """What a file of these tensors (name, type, shape), one behind the other, begins with.

    >>> tensor_header([("a", "F16", (2, 3))], {})[8:].rstrip()
    b'{"__metadata__":{},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}'
    """
    header: dict[str, Any] = {"__metadata__": dict(about)}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + math.prod(shape) * _ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text
