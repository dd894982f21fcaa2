"""Rows that are in memory, in a file, or both; the file is written in the background. Knows nothing of what they are."""

from concurrent.futures import Future

import pyarrow as pa

from larix.data.join.store import Store, Stored


class Kept:
    """A batch that never changes; ``file`` is what holds it already."""

    def __init__(self, kind: str, rows: pa.RecordBatch, file: Stored | None = None) -> None:
        self._kind, self._file = kind, file
        self._rows: pa.RecordBatch | None = None if file is not None else rows
        self._size = int(rows.nbytes)
        self._writing: Future[Stored] | None = None

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return 0 if self._rows is None else self._size

    @property
    def written(self) -> bool:
        """Whether a file holds it."""
        return self._file is not None

    def begin(self, store: Store) -> None:
        """Begin to write it, if it is in no file."""
        if self._file is None and self._writing is None:
            assert self._rows is not None
            self._writing = store.keep(self._kind, self._rows)

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

    def read(self, store: Store) -> pa.RecordBatch:
        """The rows; those of a file are mapped."""
        return store.read(self.file(store)) if self._rows is None else self._rows

    def spill(self, store: Store) -> int:
        """Hold it in its file alone; return the bytes set free."""
        self.file(store)
        freed, self._rows = self.nbytes, None
        return freed

    def drop(self, store: Store) -> None:
        """It is of no use any more."""
        if self._file is not None or self._writing is not None:
            store.drop(self.file(store))
