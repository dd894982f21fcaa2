from larix.data.log.place import Place


def test_segments_are_listed_by_their_first_offset_and_found_by_any(tmp_path):
    place = Place(folder=tmp_path, log="l", topic="t", partition=1)
    for first in (500, 7, 10**15):
        place.segment(first).touch()
        place.index(first).touch()
    place.head.touch()
    assert place.segments() == [7, 500, 10**15]
    assert [place.segment_of(offset) for offset in (6, 7, 499, 500, 10**18)] == [None, 7, 7, 500, 10**15]


def test_names_sort_as_offsets_do(tmp_path):
    place = Place(folder=tmp_path, log="l", topic="t", partition=1)
    assert place.segment(9).name < place.segment(10).name < place.segment(2**63).name


def test_frames_of_another_log_topic_partition_or_segment_have_another_origin(tmp_path):
    places = [
        Place(folder=tmp_path, log=log, topic=topic, partition=partition)
        for log in "lm"
        for topic in "tu"
        for partition in (0, 1)
    ]
    assert len({place.origin(first) for place in places for first in (0, 1)}) == 16
