"""Arrays that lie in a file and are mapped into memory, for the kernel to keep or drop. Knows nothing of what they hold."""

import mmap
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.errors import StorageError


def mapped(array: NDArray[Any], folder: Path) -> NDArray[Any]:
    """The same array in a file of ``folder`` without a name, which goes with the array.

    Raises:
        StorageError: the disk is full.
    """
    if not array.size or _in_file(array):
        return array
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            pages = mmap.mmap(file.fileno(), array.nbytes)
    except OSError as error:
        raise StorageError(f"'{folder}' cannot be written: {error.strerror}; free some space") from error
    return np.frombuffer(pages, array.dtype).reshape(array.shape)


def held(*arrays: NDArray[Any]) -> int:
    """The bytes of those that are not in a file."""
    return sum(array.nbytes for array in arrays if not _in_file(array))


def _in_file(array: object) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array.obj if isinstance(array, memoryview) else array, mmap.mmap)
