"""The journal of an online run: a JSON object a line, for reports; and whoever else is told. Knows nothing of training."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from larix.train.online.watcher import Alarm, Progress, Published, Saved, Tested, Watcher, Window

_EVERY_S = 1.0  # between lines of progress


class Journal(Watcher):
    """Writes ``online.jsonl`` in a run's folder and passes everything on to ``watcher``.

    Lines are ``{"kind": "progress" | "window" | "published" | "saved" | "alarm", "step", ...}``: the fields of what a watcher
    is told. Those of steps after ``step``, which a process that was killed had made, are taken away first: the steps are made
    again. A line that cannot be written is lost, and ``failure`` says why; training does not stop for it.
    """

    def __init__(self, folder: Path, step: int, watcher: Watcher) -> None:
        self.failure = ""
        self._watcher = watcher
        self._path = folder / "online.jsonl"
        self._shown_s = -_EVERY_S
        self._torn = ""
        self._file: IO[str] | None = None
        try:
            before = read(self._path)
            kept = [line for line in before if line["step"] <= step]
            fresh = self._path.with_name(".online.jsonl.new")
            fresh.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            fresh.replace(self._path)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            self.failure = f"'{self._path}' cannot be written: {error.strerror}"

    def tested(self, tested: Tested) -> None:  # noqa: D102
        self._watcher.tested(tested)

    def progressed(self, progress: Progress) -> None:  # noqa: D102
        if progress.seconds - self._shown_s >= _EVERY_S:
            self._shown_s = progress.seconds
            self._write("progress", asdict(progress))
        self._watcher.progressed(progress)

    def measured(self, window: Window) -> None:  # noqa: D102
        self._write("window", asdict(window))
        self._watcher.measured(window)

    def published(self, published: Published) -> None:  # noqa: D102
        self._write("published", {**asdict(published), "what": published.kind})
        self._watcher.published(published)

    def saved(self, saved: Saved) -> None:  # noqa: D102
        self._write("saved", {**asdict(saved), "path": saved.path.name})
        self._watcher.saved(saved)

    def alarmed(self, alarm: Alarm) -> None:  # noqa: D102
        self._write("alarm", asdict(alarm))
        self._watcher.alarmed(alarm)

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self.failure = f"'{self._path}' cannot be written: {error.strerror}"

    def _write(self, kind: str, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(self._torn + json.dumps({**line, "kind": kind}) + "\n")
            self._file.flush()
            self._torn = ""
        except OSError as error:
            self._torn = "\n"  # ends what was written of it
            self.failure = f"'{self._path}' cannot be written: {error.strerror}"


def read(path: Path) -> list[dict[str, Any]]:
    """The journal's lines; none if it is not there. One that was cut off by a crash or a full disk is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
