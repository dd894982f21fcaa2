from larix.serve.models.pauses import pauses


def test_a_pause_is_as_long_as_several_of_the_piece_before_it_and_never_long():
    now, slept = [10.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pause = pauses(lambda: now[0], sleep)
    for piece in (0.25, 0.0, 0.125, 4.0):
        now[0] += piece / 2
        pause()
    assert slept == [0.375, 0.0, 0.1875, 0.5]
