"""A part of the replay in a process of its own, told by words over a pipe, begun again when it was killed.

Knows nothing of what the part does.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from larix.errors import LarixError

STOP: Final = "stop"  # leave everything such that one can go on
END: Final = "end"  # no more will come
_JOIN_S = 5.0


class Control:
    """The part's side: what it was told. A parent that is gone says ``stop``, too."""

    def __init__(self, pipe: Connection) -> None:
        self.stop, self.end = threading.Event(), threading.Event()
        self._pipe = pipe
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def ready(self) -> None:
        """Tell the parent that work has begun."""
        _tell(self._pipe, {"ready": True})

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                word = self._pipe.recv_bytes().decode()
                (self.stop if word == STOP else self.end).set()
        self.stop.set()


Part = Callable[[Path, Control], None]


class Worker:
    """Runs ``part(folder, control)`` in a new process. A LarixError there ends it for good; a signal does not.

    ``ready`` is set by `look` once the part said so. ``restarts`` counts how often it was begun again; more than ``most`` is
    taken for a fault that comes back.
    """

    def __init__(self, name: str, part: Part, folder: Path, *, most: int = 5) -> None:
        self.name, self._part, self._folder, self._most = name, part, folder, most
        self.restarts = 0
        self.ready = False
        self._error = ""
        self._told: list[str] = []
        self._begin()

    @property
    def pid(self) -> int:
        """Of the process that runs it now."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def done(self) -> bool:
        """Whether it ended of its own accord."""
        return self._process.exitcode == 0

    def tell(self, word: str) -> None:
        """Say ``stop`` or ``end``; who is begun again hears it again."""
        self._told.append(word)
        self._say(word)

    def look(self) -> None:
        """Hear it, and begin it again if it was killed. LarixError if it failed, with what it said."""
        code = self._process.exitcode
        self._hear()
        if code is None or code == 0:
            return
        if code > 0:
            raise LarixError(f"the {self.name} ended: {self._error or f'with status {code}'}")
        if self.restarts >= self._most:
            raise LarixError(
                f"the {self.name} was ended by signal {-code} for the {self.restarts + 1}th time"
            )
        self.restarts += 1
        self._pipe.close()
        self._begin()
        for word in self._told:
            self._say(word)

    def close(self) -> None:
        """Stop it, by force if words do not help."""
        if self._process.is_alive():
            self._say(STOP)
            self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(self._part, self._folder, theirs), name=self.name, daemon=True
        )
        self._process.start()
        theirs.close()

    def _say(self, word: str) -> None:
        with suppress(OSError):  # it is gone, and `look` will see that
            self._pipe.send_bytes(word.encode())

    def _hear(self) -> None:
        with suppress(EOFError, OSError, ValueError):
            while self._pipe.poll():
                said = json.loads(self._pipe.recv_bytes())
                self.ready = self.ready or "ready" in said
                self._error = said.get("error", self._error)


def _run(part: Part, folder: Path, pipe: Connection) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal: the parent says what follows
    try:
        part(folder, Control(pipe))
    except LarixError as error:
        _tell(pipe, {"error": str(error)})
        sys.exit(2)
    except Exception as error:
        traceback.print_exc()
        _tell(pipe, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of torch and of consumers hold nothing that is worth waiting for


def _tell(pipe: Connection, said: dict[str, Any]) -> None:
    with suppress(OSError):
        pipe.send_bytes(json.dumps(said).encode())
