"""Arrow's columns of numbers as numpy's."""

import numpy as np
import pyarrow as pa


def numbers_of(array: pa.Array) -> np.ndarray:
    """The values of an array of integers without nulls, as a view.

    `to_numpy` gives the same, and imports pandas first, where that is installed: half a second of every process that
    reads samples.

    >>> numbers_of(pa.array([1, 2, 3], pa.int32())[1:])
    array([2, 3], dtype=int32)
    """
    values = array.buffers()[1]
    dtype = np.dtype(array.type.to_pandas_dtype())
    if values is None:
        return np.empty(0, dtype)
    return np.frombuffer(values, dtype, array.offset + len(array))[array.offset :]
