"""Kill a process that appends, again and again, and look at what is left. Run as a script, so that it can fork.

Usage: python log_kills.py FOLDER KILLS SEED
"""

import os
import random
import signal
import struct
import sys
import threading
import time

from log_events import appends, numbered

from larix.data.log import DiskLog

TOPIC, PARTITIONS, THREADS = "events", 2, 3
ACK = struct.Struct("<iii")


def victim(folder, acks, life, seed):
    """Append from several threads until killed; what was acknowledged goes into the pipe."""
    log = DiskLog(folder, segment_bytes=2_000_000, commit_every_s=0.002)

    def work(thread):
        maker, chance = life * 10 + thread, random.Random(seed * 1000 + thread)
        for n in range(1_000_000):
            partition, rows = chance.randrange(PARTITIONS), chance.choice([1, 3, 40, 400, 8000])
            log.append(TOPIC, numbered(maker, n, rows), partition=partition)
            os.write(acks, ACK.pack(maker, n, partition))

    def send():
        for n in range(1_000_000):
            log.send(TOPIC, numbered(life * 10 + 9, n, 5))
            if n % 50 == 49:
                log.flush()
                os.write(acks, ACK.pack(life * 10 + 9, n, -1))

    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,), daemon=True).start()
    send()


def live(folder, life, seed):
    """One life of a victim; the appends that it was told are durable."""
    chance = random.Random(seed)
    out, acks = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            victim(folder, acks, life, seed)
        finally:
            os._exit(3)
    os.close(acks)
    raw = bytearray()
    reading = threading.Thread(target=lambda: raw.extend(b"".join(iter(lambda: os.read(out, 1 << 16), b""))))
    reading.start()
    time.sleep(chance.choice([0.01, 0.05, 0.1, 0.2]) * (0.5 + chance.random()))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the victim ended by itself: {status}"
    reading.join()
    os.close(out)
    return [ACK.unpack_from(raw, at) for at in range(0, len(raw) // ACK.size * ACK.size, ACK.size)]


def check(batches, acknowledged):
    """Every append that is there is whole and once, in each maker's order; every acknowledged one is there."""
    found = {partition: appends(each) for partition, each in batches.items()}
    everywhere = [each for partition in found for each in found[partition]]
    assert len(set(everywhere)) == len(everywhere), "an append is there twice"
    for partition in found:
        latest = {}
        for maker, n in found[partition]:
            assert latest.get(maker, -1) < n, "appends changed their order"
            latest[maker] = n
    makers = {}
    for maker, n in everywhere:
        makers.setdefault(maker, []).append(n)
    for maker, each in makers.items():
        assert sorted(each) == list(range(len(each))), f"maker {maker} lost one that came before another"
    there = {partition: set(each) for partition, each in found.items()}
    for maker, n, partition in acknowledged:
        if partition >= 0:
            assert (maker, n) in there[partition], f"{maker}/{n} was acknowledged and is gone"
        else:
            assert n < len(makers.get(maker, [])), f"{maker}/{n} was flushed and is gone"


def main(folder, kills, seed):
    numbered(0, 0, 1)  # loads what it needs, which a child would spend its life on
    with DiskLog(folder) as log:
        log.create(TOPIC, partitions=PARTITIONS)
        following = log.consumer(TOPIC)
        followed = {partition: [] for partition in range(PARTITIONS)}
        acknowledged = []
        for life in range(kills):
            acknowledged += live(folder, life, seed * 1000 + life)
            while got := following.poll(max_rows=1000):
                for events in got:
                    followed[events.partition].append(events.rows)
        again = {partition: [] for partition in range(PARTITIONS)}
        for events in log.consumer(TOPIC).drain():
            again[events.partition].append(events.rows)
        check(again, acknowledged)
        assert again == followed, "a follower saw something else"
        log.append(TOPIC, numbered(10**6, 0, 3))
    print(f"kills {kills} acknowledged {len(acknowledged)} found {sum(len(each) for each in again.values())}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
