import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.sessions.once import Once


class Kept:
    def __init__(self):
        self.lock = threading.RLock()
        self.kept = {}
        self.begun = []
        self.once = Once(self.lock, lambda key, mark: self.kept.get(key), self.keep)

    def keep(self, key, result, mark):
        assert key not in self.kept
        self.kept[key] = result

    def begin(self):
        self.begun.append(Future())
        return self.begun[-1]

    def ask(self, key="k", mark=1, deadline=1.0):
        return self.once.ask(key, mark, deadline, self.begin)


def test_all_who_ask_the_same_share_one_computation():
    kept = Kept()
    asked = [kept.ask() for _ in range(5)]
    assert len(kept.begun) == 1
    result = object()
    kept.begun[0].set_result(result)
    assert all(each.result(0) is result for each in asked)
    assert kept.ask().result(0) is result
    assert len(kept.begun) == 1
    assert len(kept.once) == 0


def test_other_keys_do_not():
    kept = Kept()
    one, other = kept.ask("a"), kept.ask("b")
    kept.begun[1].set_result("b")
    kept.begun[0].set_result("a")
    assert (one.result(0), other.result(0)) == ("a", "b")


def test_another_question_under_the_same_key_is_a_mistake():
    kept = Kept()
    kept.ask(mark=1)
    with pytest.raises(DataError, match="give every request an id of its own"):
        kept.ask(mark=2)


def test_failures_are_told_to_all_and_forgotten():
    kept = Kept()
    asked = [kept.ask(), kept.ask()]
    kept.begun[0].set_exception(Refusal(Why.OVERLOADED, "full"))
    assert [str(each.exception(0)) for each in asked] == ["full", "full"]
    again = kept.ask()
    kept.begun[1].set_result(3)
    assert again.result(0) == 3


def test_what_begin_raises_is_the_failure():
    def begin():
        raise Refusal(Why.UNAVAILABLE, "no")

    kept = Kept()
    assert kept.once.ask("k", 1, 1.0, begin).exception(0).why is Why.UNAVAILABLE
    assert len(kept.once) == 0


def test_a_retry_with_more_time_is_not_told_that_the_first_was_too_late():
    kept = Kept()
    first, longer, longest = kept.ask(deadline=1.0), kept.ask(deadline=2.0), kept.ask(deadline=3.0)
    kept.begun[0].set_exception(Refusal(Why.TOO_LATE, "late"))
    assert first.exception(0).why is Why.TOO_LATE
    assert not longer.done()
    assert len(kept.begun) == 2
    kept.begun[1].set_result("there")
    assert (longer.result(0), longest.result(0)) == ("there", "there")
    assert kept.kept == {"k": "there"}


def test_if_the_longest_is_too_late_all_are():
    kept = Kept()
    asked = [kept.ask(deadline=float(at)) for at in (1, 3, 2)]
    kept.begun[0].set_exception(Refusal(Why.TOO_LATE, "late"))
    kept.begun[1].set_exception(Refusal(Why.TOO_LATE, "later"))
    assert [str(each.exception(0)) for each in asked] == ["late", "later", "later"]
    assert len(kept.begun) == 2
    assert len(kept.once) == 0


def test_it_is_given_up_when_the_last_has_cancelled():
    kept = Kept()
    one, other = kept.ask(), kept.ask()
    assert one.cancel()
    assert not kept.begun[0].cancelled()
    assert other.cancel()
    assert kept.begun[0].cancelled()
    again = kept.ask()
    kept.begun[1].set_result(1)
    assert again.result(0) == 1


def test_one_who_has_cancelled_does_not_disturb_the_others():
    kept = Kept()
    one, other = kept.ask(), kept.ask()
    one.cancel()
    kept.begun[0].set_result(1)
    assert other.result(0) == 1


def test_it_is_given_up_when_the_last_cancels_while_it_is_begun():
    kept = Kept()
    kept.ask(deadline=1.0)
    longer = kept.once.ask("k", 1, 2.0, lambda: longer.cancel() and kept.begin())
    kept.begun[0].set_exception(Refusal(Why.TOO_LATE, "late"))
    assert longer.cancelled()
    assert kept.begun[1].cancelled()
    assert len(kept.once) == 0


def test_what_is_ready_although_all_have_cancelled_is_not_kept():
    kept = Kept()
    asked = kept.ask()
    kept.begun[0].set_running_or_notify_cancel()
    asked.cancel()
    kept.ask()
    kept.begun[0].set_result("first")
    assert kept.kept == {}
    kept.begun[1].set_result("second")
    assert kept.kept == {"k": "second"}


def test_who_waits_for_what_the_server_gave_up_is_told_to_ask_again():
    kept = Kept()
    asked = kept.ask()
    kept.begun[0].cancel()
    refusal = asked.exception(0)
    assert refusal.why is Why.UNAVAILABLE
    assert refusal.retry_after_s == 0


def test_a_result_is_in_memory_no_longer_than_whoever_asked_holds_it():
    class Result:
        pass

    kept = Kept()
    asked, joined = kept.ask(), kept.ask()
    kept.begun.pop().set_result(Result())
    result = weakref.ref(asked.result(0))
    kept.kept.clear()
    del asked
    assert result() is not None
    del joined
    assert result() is None  # at once: no collector is waited for


def test_threads_that_race_compute_each_key_once():
    kept, many = Kept(), ThreadPoolExecutor(8)
    begun, lock = [], threading.Lock()

    def begin(key):
        with lock:
            begun.append(key)
        return many.submit(lambda: key * 10)

    with ThreadPoolExecutor(8) as askers:
        asked = [
            askers.submit(lambda key=key: kept.once.ask(key, 0, 1.0, lambda: begin(key)))
            for _ in range(20)
            for key in range(40)
        ]
        results = [each.result(20).result(20) for each in asked]
    wait([many.submit(int)], timeout=20)
    many.shutdown()
    assert results == [key * 10 for _ in range(20) for key in range(40)]
    assert sorted(begun) == list(range(40))
