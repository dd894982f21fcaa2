from larix.serve.sessions import SessionStats


def test_what_is_counted_since_the_start_is_a_total():
    gauges = SessionStats(open=2, opened=5, side_bytes=10).gauges
    assert gauges["sessions_open"] == 2
    assert gauges["sessions_opened_total"] == 5
    assert gauges["sessions_side_bytes"] == 10
    assert "sessions_side_bytes_total" not in gauges
