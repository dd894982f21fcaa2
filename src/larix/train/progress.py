"""What a run shows while it trains: a bar, samples a second, losses, the time left. Knows no step."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text


class Bar:
    """A progress bar over ``total`` samples, the losses below it; shown only where ``console`` is a terminal."""

    def __init__(self, console: Console | None, tasks: Sequence[str], total: int, done: int) -> None:
        self._tasks = tasks
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bar = self._progress.add_task("", total=total, completed=done, speed="")
        self._losses = Text("", "dim")
        self._live: Live | None = None
        if console is not None and console.is_terminal:
            self._live = Live(Group(self._progress, self._losses), console=console, refresh_per_second=4)

    def show(self, done: int, per_second: float, losses: Sequence[float]) -> None:
        """Say how many samples are done, at what speed, and the latest losses in the order of the tasks."""
        named = (f"{task} {loss:.4f}" for task, loss in zip(self._tasks, losses, strict=True))
        self._losses.plain = "loss: " + ", ".join(named)
        self._progress.update(self._bar, completed=done, speed=f"{per_second:,.0f} samples/s")

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
