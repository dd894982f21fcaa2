"""What a run shows while it trains: a bar, samples a second, losses, the time left. Knows no step."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar over ``total`` samples on ``console``; shows nothing without one."""

    def __init__(self, console: Console | None, tasks: Sequence[str], total: int, done: int) -> None:
        self._tasks = tasks
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=console,
            disable=console is None,
            refresh_per_second=4,
        )
        self._bar = self._progress.add_task("training", total=total, completed=done, speed="", losses="")

    def show(self, done: int, per_second: float, losses: Sequence[float]) -> None:
        """Say how many samples are done, at what speed, and the latest losses in the order of the tasks."""
        named = "  ".join(f"{task} {loss:.4f}" for task, loss in zip(self._tasks, losses, strict=True))
        self._progress.update(self._bar, completed=done, speed=f"{per_second:,.0f} samples/s", losses=named)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
