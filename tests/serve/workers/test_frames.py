import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.workers.frames import Asked, Failure, Frames, Told, error_of, failure_of, framed

BODIES = st.lists(st.binary(max_size=3000), max_size=8)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written, self.closed = bytearray(), False

    def writelines(self, parts):
        self.written += b"".join(parts)

    def close(self):
        self.closed = True


def pair(kind):
    taken, lost = [], []
    end = Frames(kind, lambda head, body: taken.append((head, body)), lambda: lost.append(1))
    end.connection_made(Wire())
    return end, taken, lost


def comes(end, data):
    """As a loop has it: what a socket holds is put where ``end`` wants it."""
    while data:
        room = end.get_buffer(-1)
        count = min(len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        end.buffer_updated(count)


@given(BODIES, st.randoms(use_true_random=False))
def test_messages_come_whole_and_in_order_however_the_socket_cuts_them(bodies, random):
    end, taken, _ = pair(Asked)
    sent = [
        Asked(
            number=at, what="POST /x", id=f"i{at}", names=("a", str(at)), headers={"h": "1"}, arrived=at / 7
        )
        for at in range(len(bodies))
    ]
    whole = b"".join(part for head, body in zip(sent, bodies, strict=True) for part in framed(head, body))
    while whole:
        size = random.randint(1, len(whole))
        comes(end, whole[:size])
        whole = whole[size:]
    assert taken == list(zip(sent, bodies, strict=True))


@given(st.lists(st.sampled_from([0, 1, 70_000, 300_000, 1 << 20]), max_size=6))
def test_long_messages_among_short_ones_come_whole_and_their_room_is_given_back(sizes):
    end, taken, _ = pair(Told)
    bodies = [bytes([at]) * size for at, size in enumerate(sizes)]
    comes(end, b"".join(part for at, body in enumerate(bodies) for part in framed(Told(number=at), body)))
    assert [(head.number, body) for head, body in taken] == list(enumerate(bodies))
    assert len(end.get_buffer(-1)) == 256 << 10


def test_a_peer_that_sends_what_is_no_message_is_cut_off():
    end, taken, _ = pair(Asked)
    comes(end, b"\x02\x00\x00\x00\x00\x00\x00\x00\xc1\xc1")
    assert end._transport.closed
    assert taken == []


def test_nothing_is_sent_when_the_connection_has_ended():
    end, _, lost = pair(Told)
    end.send(Told(number=1), b"x")
    assert bytes(end._transport.written) == b"".join(framed(Told(number=1), b"x"))
    end.connection_lost(None)
    assert lost == [1]
    with pytest.raises(ConnectionError):
        end.send(Told(number=2))


@pytest.mark.parametrize(
    "error",
    [
        DataError("row 3 of 'age' is 'x'"),
        Refusal(Why.OVERLOADED, "full", retry_after_s=0.5),
        Refusal(Why.UNKNOWN, "no such model"),
    ],
)
def test_an_error_comes_out_as_it_went_in(error):
    told = error_of(failure_of(error))
    assert (type(told), str(told)) == (type(error), str(error))
    assert (getattr(told, "why", None), getattr(told, "retry_after_s", None)) == (
        getattr(error, "why", None),
        getattr(error, "retry_after_s", None),
    )


def test_what_came_too_late_says_so_and_a_fault_tells_its_kind_alone():
    assert error_of(failure_of(TimeoutError())).why is Why.TOO_LATE
    fault = failure_of(ValueError("a secret"))
    assert fault == Failure(why=-1, text="ValueError in a worker; its log says more")
    assert type(error_of(fault)) is RuntimeError


def test_frames_go_over_a_real_socket(folder):
    async def talk():
        heard = asyncio.get_running_loop().create_future()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Frames(Asked, lambda head, body: heard.set_result((head, body)), lambda: None),
            str(folder / "s"),
        )
        loop = asyncio.get_running_loop()
        _, end = await loop.create_unix_connection(
            lambda: Frames(Told, lambda *_: None, lambda: None), str(folder / "s")
        )
        end.send(Asked(number=7, what="w"), bytes(3 << 20))
        head, body = await heard
        end.close()
        server.close()
        return head.number, len(body)

    assert asyncio.run(talk()) == (7, 3 << 20)
