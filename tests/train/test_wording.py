from larix.train.wording import count, days, delta, metric, percent, size, span


def test_numbers_are_written_for_people():
    assert [size(n) for n in (0, 1023, 1024, 5 << 30, None)] == ["0 B", "1,023 B", "1.0 KiB", "5.0 GiB", "–"]
    assert [span(s) for s in (1.25, 61, 3725, None)] == ["1.2 s", "1 min 01 s", "1 h 02 min", "–"]
    assert [percent(p) for p in (0.4412, 0.0172, 0, 1, None)] == ["44.1%", "1.7%", "0.0%", "100.0%", "–"]
    assert [metric(m) for m in (0.74512, None, float("nan"))] == ["0.7451", "–", "–"]
    assert days(["2022-04-25", "2022-05-06"]) == "25 Apr – 6 May 2022"
    assert days(["2022-05-05", "2022-05-06"]) == "5 – 6 May 2022"
    assert days(["2021-12-31", "2022-01-01"]) == "31 Dec 2021 – 1 Jan 2022"
    assert days(["2022-05-05", "2022-05-05"]) == "5 May 2022"
    assert days(["day 1", "day 12"]) == "day 1 – day 12"
    assert [delta(d) for d in (0.0021, -0.01)] == ["+0.0021", "−0.0100"]
    assert [count(n) for n in (1234567, 0, None)] == ["1,234,567", "0", "–"]
    assert delta(None) == ""
