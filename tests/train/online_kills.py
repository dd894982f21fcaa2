"""Kill an online trainer again and again while a follower follows, and see that nothing shows. Run as a script: it forks.

Usage: online_kills.py START LOG FOLDER KILLS SEED. The samples are in the log; the last life is not killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import onlining
import torch
from online_states import same_rows

from larix.data.log import DiskLog
from larix.embedding import DeltaFollower, Replica, storage
from larix.train import version
from larix.train.online import Deltas, Watcher
from larix.train.online.deltas import DeltaReader


class Slow(Watcher):
    """Takes a while for each batch, so that there is something to be killed."""

    def progressed(self, progress):
        time.sleep(0.004)


def trainer(start, log, folder, watcher=None):
    torch.set_num_threads(2)
    onlining.run(start, DiskLog(log), folder, **({} if watcher is None else {"watcher": watcher}))


def forked(work):
    """The id of a process that does ``work``. Nothing has been computed by torch here, so that forks have sound threads."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return child


def follow(followers, until):
    while time.monotonic() < until:
        for follower in followers:
            follower.poll(0.001)


def main(start, log_folder, folder, kills, seed):
    chance, log = random.Random(seed), DiskLog(log_folder)
    followers, killed, lives = [], 0, 0
    while killed < kills:
        child = forked(lambda: trainer(start, log_folder, folder, Slow()))
        lives += 1
        begun = len(version.versions(folder / "versions")) if (folder / "versions").exists() else 0
        if begun and not followers:
            followers = [fresh(log, folder) for _ in range(2)]
        # Some are killed while they still load, most in the midst of training.
        follow(
            followers[:1],
            time.monotonic() + (chance.uniform(0, 0.1) if lives % 4 == 0 else chance.uniform(0.1, 0.5)),
        )
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the trainer ended after {killed} kills: {status}")
        killed += 1
        print(f"life {lives}: at", *(path.name for path in version.versions(folder / "versions")[-1:]))
        if chance.random() < 0.3:
            follow(followers, time.monotonic() + 0.05)  # the second comes by now and then
    child = forked(lambda: trainer(start, log_folder, folder))
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    followers.append(fresh(log, folder))
    for follower in followers:
        while follower.poll(0.05):
            pass
        assert not follower.waiting, follower.waiting
        assert same_rows(follower.replica, folder), "a follower ended elsewhere"
    counts = [(each.applied, each.passed, each.replaced) for each in followers]
    print(f"killed {killed} followers {counts}")


def fresh(log, folder):
    specs = storage.read(version.versions(folder / "versions")[-1] / "tables").specs
    return DeltaFollower(Replica(list(specs.values())), DeltaReader(Deltas(log=log), folder / "versions"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
