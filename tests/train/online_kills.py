"""Kill an online trainer again and again while a follower follows, and see that nothing shows. Run as a script: it forks.

Usage: online_kills.py START LOG FOLDER KILLS SEED. The samples are in the log; the last life is not killed.
"""

import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import onlining
import torch
from online_states import follower_of, same_rows

from larix.data.log import DiskLog
from larix.train import version
from larix.train.online import Watcher

STEPS = 40  # that a life has at most


class Telling(Watcher):
    """Writes a byte for each batch, and takes a while, so that there is something to be killed."""

    def __init__(self, pipe):
        self.pipe = pipe

    def progressed(self, progress):
        os.write(self.pipe, b".")
        time.sleep(0.004)


def trainer(start, log, folder, pipe):
    torch.set_num_threads(2)
    onlining.run(start, DiskLog(log), folder, **({} if pipe is None else {"watcher": Telling(pipe)}))


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


def live(start, log, folder, follower, steps, delay):
    """A life that is killed some time after so many batches, while ``follower`` follows."""
    out, pipe = os.pipe()
    child = forked(lambda: trainer(start, log, folder, pipe))
    os.close(pipe)
    done = 0
    while done < steps:
        if follower is not None:
            follower.poll(0.001)
        if select.select([out], [], [], 0.001)[0]:
            told = os.read(out, STEPS)
            if not told:
                break
            done += len(told)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.close(out)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"the trainer ended by itself: {status}")


def main(start, log_folder, folder, kills, seed):
    chance, log = random.Random(seed), DiskLog(log_folder)
    steady = seldom = None
    passed = set()
    for number in range(kills):
        early = number % 5 == 4  # while it still loads what there is, perhaps
        steps, delay = (
            (0, chance.uniform(0, 0.3)) if early else (chance.randint(1, STEPS), chance.uniform(0, 0.01))
        )
        live(start, log_folder, folder, steady, steps, delay)
        if there := version.versions(folder / "versions"):
            passed.add(there[-1].name)
            steady, seldom = steady or follower_of(log, folder), seldom or follower_of(log, folder)
            if chance.random() < 0.3:
                seldom.poll(0.01)
    child = forked(lambda: trainer(start, log_folder, folder, None))
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert len(passed) > kills / 3, f"hardly anything was saved between the kills: {passed}"
    followers = [steady, seldom, follower_of(log, folder)]
    for follower in followers:
        while follower.poll(0.05):
            pass
        assert not follower.waiting, follower.waiting
        assert same_rows(follower.replica, folder), "a follower ended elsewhere"
    counts = [(each.applied, each.passed, each.replaced) for each in followers]
    print(f"killed {kills} versions {len(passed)} followers {counts}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
