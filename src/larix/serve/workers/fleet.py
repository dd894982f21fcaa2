"""Worker processes: started, watched, started again when they end or hang, and ended. Knows nothing of what they do.

A process is given a line on its standard input, says a line of JSON when it answers or why it cannot, and ends when its
standard input does: so none outlives its front, however that ends.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from larix.errors import ConfigError, LarixError, StorageError
from larix.serve.workers.dispatch import Member
from larix.serve.workers.frames import PING, Asked, framed

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.1
_LONGEST_PAUSE_S = 30.0
_LONGEST_FOLDER = 92  # bytes: a socket's whole path has 107 at most on Linux
_KINDS: dict[str, type[LarixError]] = {each.__name__: each for each in (ConfigError, StorageError)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetSettings:
    """``count``: of processes. In seconds: ``hang_s``, after which one that does not answer a ping is ended; ``ping_s``, between
    two; ``stop_s``, to answer what is under way when all are to end.
    """

    count: int
    hang_s: float = 10.0
    ping_s: float = 1.0
    stop_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 1024:
            raise ConfigError(f"there cannot be {self.count} worker processes; 1 to 1024 can")
        for name in ("hang_s", "ping_s", "stop_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"the workers' {name} is {getattr(self, name)}; it must be above 0 seconds")


class Fleet:
    """``command``: starts one. ``given``: the line that the worker of a number is told. ``folder``: of their sockets.

    Each is watched by a thread. One that ends is started again, at once if it had lived for long. ConfigError if ``folder``
    has too long a name.
    """

    def __init__(
        self,
        command: Sequence[str],
        given: Callable[[int], str],
        folder: Path,
        settings: FleetSettings,
    ) -> None:
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            raise ConfigError(
                f"'{folder}' is too long a name for sockets, which have {_LONGEST_FOLDER} bytes; set TMPDIR to a shorter one"
            )
        self._command, self._given, self._settings = list(command), given, settings
        self.members = [Member(folder / f"{at}.socket") for at in range(settings.count)]
        self.restarts = 0
        self._processes: list[subprocess.Popen[str] | None] = [None] * settings.count
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._failed: LarixError | None = None
        self._said = ""
        self._threads = [
            threading.Thread(target=self._keep, args=(at,), name=f"worker {at}", daemon=True)
            for at in range(settings.count)
        ]

    def start(self) -> str:
        """Start all; return what the first says when all answer. What keeps one from it is raised: ConfigError, StorageError."""
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._failed is not None or all(member.up for member in self.members)
            )
        if self._failed is not None:
            self.stop()
            raise self._failed
        return self._said

    def stop(self) -> None:
        """Have all answer what is under way, and end; those that do not within ``stop_s`` are ended."""
        self._stopping.set()
        with self._changed:
            for process in filter(None, self._processes):
                assert process.stdin is not None
                process.stdin.close()
        until = time.monotonic() + self._settings.stop_s
        for process in filter(None, self._processes):
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join()

    @property
    def processes(self) -> list[int]:
        """Of the workers that live, by number; 0 for one that does not."""
        return [
            0 if process is None or process.poll() is not None else process.pid for process in self._processes
        ]

    def _keep(self, at: int) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                process = self._begin(at)
            except LarixError as error:
                self._failing(at, error)
            else:
                self._set_up(at, True)
                self._watch(at, process)
                self._set_up(at, False)
                if not self._stopping.is_set():
                    _LOG.error(
                        "worker %d has ended with status %s; another is started", at, process.returncode
                    )
            self.restarts += not self._stopping.is_set()
            lived = time.monotonic() - began > _LONGEST_PAUSE_S
            pause = 0.0 if lived else min(max(0.5, 2 * pause), _LONGEST_PAUSE_S)

    def _failing(self, at: int, error: LarixError) -> None:
        if not self._stopping.is_set():
            _LOG.error("worker %d cannot be started: %s", at, error)
        with self._changed:
            if self._failed is None:
                self._failed = error
            self._changed.notify_all()

    def _set_up(self, at: int, up: bool) -> None:
        with self._changed:
            self.members[at].up = up
            self._changed.notify_all()

    def _begin(self, at: int) -> "subprocess.Popen[str]":
        """A process that answers. What it said instead is raised."""
        self.members[at].path.unlink(missing_ok=True)
        with self._changed:
            if self._stopping.is_set():
                raise StorageError("the server is about to stop")
            process = subprocess.Popen(
                self._command,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the front, which ends them in order
            )
            self._processes[at] = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(self._given(at) + "\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            said = {}
        if "ready" in said:
            self._said = self._said or said["ready"]
            return process
        process.kill()
        status = process.wait()
        kind = _KINDS.get(said.get("error", ""), StorageError)
        raise kind(said.get("text") or f"a worker process ended with status {status}; its log says why")

    def _watch(self, at: int, process: "subprocess.Popen[str]") -> None:
        """Until it ends, by itself or because it hangs."""
        ping_at = time.monotonic() + self._settings.ping_s
        while process.poll() is None:
            if self._stopping.wait(_LOOK_S):
                process.wait()
                return
            if time.monotonic() >= ping_at:
                if not self._answers(at):
                    _LOG.error("worker %d has not answered for %g s; it is ended", at, self._settings.hang_s)
                    process.kill()
                    process.wait()
                    return
                ping_at = time.monotonic() + self._settings.ping_s

    def _answers(self, at: int) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.settimeout(self._settings.hang_s)
                end.connect(str(self.members[at].path))
                end.sendall(b"".join(framed(Asked(number=0, what=PING))))
                return bool(end.recv(1))
        except OSError:
            return False
