"""Rows that are in memory, in a file, or both; the file is written in the background. Knows nothing of what they are."""

from concurrent.futures import Future

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join.store import Store, Stored

Places = NDArray[np.int32]


class Kept:
    """Rows that never change.

    Args:
        kind: what their file is called.
        rows: a batch with them.
        at: where they are in it; None: they are all of it.
        file: what holds them already, as all of a batch.
    """

    def __init__(
        self, kind: str, rows: pa.RecordBatch, at: Places | None = None, file: Stored | None = None
    ) -> None:
        self._kind, self._file = kind, file
        self._rows: pa.RecordBatch | None = None if file is not None else rows
        self._at = at
        self._size = int(rows.nbytes) + (0 if at is None else at.nbytes)
        self._writing: Future[Stored] | None = None

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return 0 if self._rows is None else self._size

    def begin(self, store: Store) -> None:
        """Begin to write it, if it is in no file."""
        if self._file is None and self._writing is None:
            assert self._rows is not None
            self._writing = store.keep(self._kind, self._rows, self._at)

    def file(self, store: Store) -> Stored:
        """The file that holds it, durable.

        Raises:
            StorageError: it could not be written; another call tries again.
        """
        self.begin(store)
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._file = writing.result()
        assert self._file is not None
        return self._file

    def find(self, store: Store, places: Places) -> tuple[pa.RecordBatch, Places]:
        """A batch with the rows of these places, and where they are in it; a file's is mapped."""
        rows = store.read(self.file(store)) if self._rows is None else self._rows
        return rows, places if self._at is None else self._at[places]

    def read(self, store: Store) -> pa.RecordBatch:
        """The rows as one batch; a file's are mapped."""
        rows = store.read(self.file(store)) if self._rows is None else self._rows
        return rows if self._at is None else rows.take(pa.array(self._at))

    def spill(self, store: Store) -> int:
        """Hold it in its file alone; return the bytes set free."""
        self.file(store)
        freed = self.nbytes
        self._rows = self._at = None
        return freed

    def drop(self, store: Store) -> None:
        """It is of no use any more."""
        if self._writing is not None and self._writing.exception() is not None:
            return
        if self._file is not None or self._writing is not None:
            store.drop(self.file(store))
