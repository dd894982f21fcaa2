"""What a served model follows: the topic that its online run publishes to, and the versions in the run's folder.

Knows runs and logs; knows nothing of how a model answers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors.torch

from larix.data.log import EventLog
from larix.embedding import Message, Snapshot
from larix.serve.models import Source
from larix.train import checkpoint
from larix.train.online.deltas import DeltaReader, Deltas


class RunMessages:
    """Messages of the online run in ``folder``, in ``deltas``: what a served model takes rows and networks from."""

    def __init__(self, deltas: Deltas, folder: str | Path) -> None:
        self._reader = DeltaReader(deltas, Path(folder) / "versions")

    def poll(self, timeout_s: float) -> Sequence[Message]:
        """See ``DeltaReader.poll``."""
        return self._reader.poll(timeout_s)

    def newest(self) -> Message | None:
        """See ``DeltaReader.newest``."""
        return self._reader.newest()

    def seek(self, message: Message) -> None:
        """See ``DeltaReader.seek``."""
        self._reader.seek(message)

    def snapshot(self, version: str) -> Snapshot:
        """See ``DeltaReader.snapshot``."""
        return self._reader.snapshot(version)

    def weights(self, version: str) -> bytes:
        """The network of a version, as dense messages have it. StorageError if it is gone or damaged."""
        network = checkpoint.read(self._reader.version(version)).network()
        return bytes(safetensors.torch.save(network))


def messages_of(folder: str | Path, log: EventLog, topic: str = "deltas") -> Callable[[], Source]:
    """What makes readers of the online run in ``folder``, each with a position of its own: ``Loading.follow`` of its model."""
    return lambda: RunMessages(Deltas(log=log, topic=topic), folder)
