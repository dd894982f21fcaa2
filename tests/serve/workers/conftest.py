import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from larix.serve.workers.dispatch import Dispatch, Member
from larix.serve.workers.worker import attend


@pytest.fixture
def folder():
    """Short: a socket's path has 107 characters at most."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def attended(folder):
    """Workers that give the same kinds of answers, all in this process, and what dispatches to them."""

    @asynccontextmanager
    async def start(*answers):
        members = [Member(folder / f"{at}.socket", up=True) for at in range(len(answers))]
        entered = [attend(member.path, given) for member, given in zip(members, answers, strict=True)]
        for each in entered:
            await each.__aenter__()
        try:
            yield Dispatch(members)
        finally:
            for each in entered:
                await each.__aexit__(None, None, None)
            await asyncio.sleep(0)

    return start
