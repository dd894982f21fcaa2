import gc
import threading
import weakref

from editions import Linear, Version

from larix.serve.models import leaving as leaving_module
from larix.serve.models.leaving import Leaving
from larix.serve.request import Stamp


def scorer():
    return Linear(Stamp(model="feed", version="1"))


def test_what_nobody_else_holds_is_freed_by_the_next_sweep_and_not_before():
    leaving, one = Leaving(), scorer()
    gone = weakref.ref(one)
    leaving.add("1", one)
    assert leaving.sweep()
    assert leaving.names == ["1"]
    del one
    assert gone() is not None
    assert not leaving.sweep()
    assert gone() is None
    assert leaving.names == []


def test_it_is_freed_on_the_thread_that_sweeps():
    class Noting(Linear):
        def __del__(self):
            freed.append(threading.get_ident())

    freed, leaving = [], Leaving()
    held = [Noting(Stamp(model="feed", version="1"))]
    leaving.add("1", held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert not freed
    leaving.sweep()
    assert freed == [threading.get_ident()]


def test_whoever_holds_a_target_of_it_holds_it():
    leaving, edition = Leaving(), Version()
    target = edition.target
    leaving.add("1", target.scorer)
    del edition
    gc.collect()
    assert leaving.sweep()
    del target
    assert not leaving.sweep()


def test_of_several_each_goes_on_its_own():
    leaving, one, other = Leaving(), scorer(), scorer()
    for each in (one, other):
        leaving.add("1", each)
    del each, one
    assert leaving.sweep()
    assert leaving.names == ["1"]
    del other
    assert not leaving.sweep()


def test_what_only_a_circle_of_objects_holds_is_looked_for_once_it_has_been_held_for_long(monkeypatch):
    leaving, circle = Leaving(), [scorer()]
    gone = weakref.ref(circle[0])
    gc.disable()
    try:
        leaving.add("1", circle[0])
        circle.append(circle)
        del circle
        assert leaving.sweep()
        now = leaving_module.time.monotonic()
        monkeypatch.setattr(leaving_module.time, "monotonic", lambda: now + 11)
        assert not leaving.sweep()
        assert gone() is None
    finally:
        gc.enable()


def test_what_somebody_does_hold_for_long_costs_one_look(monkeypatch):
    leaving, one, looks = Leaving(), scorer(), []
    leaving.add("1", one)
    now = leaving_module.time.monotonic()
    monkeypatch.setattr(leaving_module.time, "monotonic", lambda: now + 11)
    monkeypatch.setattr(leaving_module.gc, "collect", lambda: looks.append(1))
    assert all(leaving.sweep() for _ in range(5))
    assert looks == [1]
