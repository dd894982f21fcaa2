import time

from larix.train.phases import Phases


def test_seconds_add_up_by_name_even_when_what_is_timed_fails():
    phases = Phases()
    for _ in range(2):
        try:
            with phases("work"):
                time.sleep(0.01)
                raise ValueError
        except ValueError:
            pass
    assert 0.02 <= phases.seconds["work"] < 1


def test_waiting_counts_only_the_time_until_an_item_comes():
    def items():
        for item in range(3):
            time.sleep(0.01)
            yield item

    phases, seen = Phases(), []
    for item in phases.waiting("read", items()):
        time.sleep(0.05)
        seen.append(item)
    assert seen == [0, 1, 2]
    assert 0.03 <= phases.seconds["read"] < 0.13
