import os
import sqlite3
import threading

import pytest

from larix.data.log.ledger import Ledger, Topic
from larix.data.log.retention import Retention
from larix.errors import StorageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


def test_topics_and_offsets_are_there_for_the_next_who_opens_it(path):
    ledger = Ledger(path)
    topic = Topic(partitions=3, retention=Retention(age_s=1.5, size_bytes=7))
    assert ledger.put_topic("b", 3, topic.retention) == topic
    ledger.put_topic("a", 1, None)
    ledger.commit("g", "b", {0: 5, 2: 2**62})
    ledger.commit("g", "b", {0: 6})
    ledger.commit("h", "b", {0: 1})
    ledger.close()
    again = Ledger(path)
    assert list(again.topics()) == ["a", "b"]
    assert again.topics()["b"] == topic
    assert again.committed("g", "b") == {0: 6, 2: 2**62}
    assert again.committed("g", "a") == again.committed("nobody", "b") == {}
    again.close()


def test_a_topic_that_is_there_keeps_its_partitions_and_its_retention_unless_another_is_given(path):
    ledger = Ledger(path)
    ledger.put_topic("a", 2, Retention(age_s=5))
    assert ledger.put_topic("a", 7, None) == Topic(partitions=2, retention=Retention(age_s=5))
    assert ledger.put_topic("a", 2, Retention()) == Topic(partitions=2, retention=Retention())
    ledger.close()


def test_two_who_write_at_once_wait_for_each_other(path):
    ledgers = [Ledger(path), Ledger(path)]

    def commit(ledger, group):
        for offset in range(50):
            ledger.commit(group, "t", {0: offset})

    threads = [threading.Thread(target=commit, args=(each, str(n))) for n, each in enumerate(ledgers * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledgers[0].committed(str(n), "t") for n in range(4)] == [{0: 49}] * 4
    for ledger in ledgers:
        ledger.close()


@pytest.mark.parametrize(("code", "opens"), [(sqlite3.SQLITE_BUSY, True), (sqlite3.SQLITE_IOERR, False)])
def test_who_meets_another_that_makes_the_file_tries_again(path, monkeypatch, code, opens):
    """SQLite refuses at once, whatever the timeout, where two turn a new file to WAL: one in some hundred times."""
    refused, connect = [], sqlite3.connect

    class Racing(sqlite3.Connection):
        def execute(self, statement, *words):
            if "journal_mode" in statement and len(refused) < 3:
                refused.append(sqlite3.OperationalError("database is locked"))
                refused[-1].sqlite_errorcode = code
                raise refused[-1]
            return super().execute(statement, *words)

    monkeypatch.setattr(sqlite3, "connect", lambda *words, **more: connect(*words, factory=Racing, **more))
    if opens:
        Ledger(path).close()
        assert len(refused) == 3
    else:
        with pytest.raises(StorageError, match="cannot be opened"):
            Ledger(path)


def test_a_commit_is_durable_and_the_file_is_in_wal_mode(path):
    Ledger(path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_child_of_a_fork_opens_it_anew(path):
    ledger = Ledger(path)
    ledger.commit("parent", "t", {0: 1})
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ledger.commit("child", "t", {0: 2})
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    ledger.commit("parent", "t", {0: 3})
    assert ledger.committed("child", "t") == {0: 2}
    assert ledger.committed("parent", "t") == {0: 3}
    ledger.close()


def test_a_file_that_is_no_database_is_named(path):
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StorageError, match=r"log\.sqlite' cannot be"):
        Ledger(path)
