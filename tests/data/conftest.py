from pathlib import Path

import pyarrow as pa
import pytest
from small_kuairand import write_folder


@pytest.fixture
def folder_of(tmp_path):
    """Write a log and its features to a new folder below ``tmp_path``."""

    def write(log: pa.Table, name: str = "published", **options) -> Path:
        return write_folder(tmp_path / name, log, **options)

    return write
