"""What other modules may ask of a store of rows, be it the native one, the oracle or one elsewhere."""
# ruff: noqa: D102 - the docstrings stand once, in table.py

from pathlib import Path
from typing import Protocol

from larix.batch import Floats, Ids
from larix.embedding.changes import Changes
from larix.embedding.snapshot import Instant, Snapshot, UInts
from larix.embedding.spec import TableSpec


class Store(Protocol):
    """Rows by table and id, with an account of what changed when."""

    specs: dict[str, TableSpec]
    memory_budget: int | None

    @property
    def history(self) -> str: ...
    @property
    def origin(self) -> Instant | None: ...
    @property
    def sequence(self) -> int: ...
    @property
    def kept(self) -> int | None: ...
    def keys(self, table: str) -> Ids: ...
    def read(self, table: str, ids: Ids) -> tuple[Floats, Floats]: ...
    def put(
        self,
        table: str,
        ids: Ids,
        weights: Floats,
        state: Floats,
        *,
        seen: UInts | None = None,
        score: Floats | None = None,
    ) -> None: ...
    def remove(self, table: str, ids: Ids) -> int: ...
    def snapshot(self, *, memory: int = 128 << 20, folder: str | Path | None = None) -> Snapshot: ...
    def cut(self) -> int: ...
    def changes(self, since: int) -> Changes: ...
    def resume(self, instant: Instant, *, tracked: bool = False) -> None: ...
