import json
from pathlib import Path

import pytest
import small_feed
from rich.console import Console

from larix.recipes import carry_out

PAGED = str(Path(small_feed.__file__).with_name("paged.py")) + ":tiny"
EAGER = ("--backend", "eager", "--buckets", "8")


@pytest.fixture(scope="module")
def paged(place, feed):
    """A finished run whose recipe tells items from requests; not to be changed."""
    folder = place / "runs" / "paged"
    carry_out(PAGED, [], folder, Console(quiet=True), data=feed)
    return folder


@pytest.fixture(scope="module")
def bundle(paged, place):
    from larix.compile import Eager
    from larix.recipes.bundled import Export, export_run

    return export_run(
        paged, place / "bundle", Console(quiet=True), Export(backend=Eager(), buckets=(8,))
    ).folder


def test_a_run_is_exported_and_told_of(larix, paged, tmp_path):
    told = larix("export", paged, "-o", tmp_path / "b", *EAGER, "--name", "feed")
    assert told.code == 0, told.err
    assert "features are equal bit for bit, 256 requests of 8 candidates" in told.out
    assert "the bound is 0.0001" in told.out
    assert told.out.splitlines()[-1].startswith(f"Bundle: {tmp_path / 'b'}, ")
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["model"] == "feed"


def test_rows_in_fewer_bits_tell_what_they_cost(larix, paged, tmp_path):
    told = larix("export", paged, "-o", tmp_path / "b", *EAGER, "--rows", "bf16")
    assert told.code == 0, told.err
    assert "rows in bf16, 0 products in less than fp32" in told.out
    assert "on held-out samples: auc_loss" in told.out


def test_a_bundle_is_checked_again(larix, bundle):
    told = larix("check", bundle)
    assert told.code == 0, told.err
    assert "files are whole: paged, step-" in told.out
    assert "logits are off by" in told.out


def test_a_damaged_bundle_is_one_line(mistake, bundle, tmp_path):
    import shutil

    copy = shutil.copytree(bundle, tmp_path / "copy")
    path = copy / "graph.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert f"'{path}' is damaged" in mistake("check", copy)


def test_a_bound_that_is_not_kept_leaves_nothing(mistake, paged, tmp_path):
    assert "may differ by 1e-12" in mistake("export", paged, "-o", tmp_path / "b", *EAGER, "--bound", "1e-12")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--rows", "int4"], "rows cannot be kept as 'int4'"),
        (["--backend", "tensorrt"], "there is no back-end 'tensorrt'"),
        (["--buckets", "many"], "are no numbers"),
    ],
)
def test_mistakes_are_one_line(mistake, paged, tmp_path, words, why):
    given = {"--backend": "eager", "--buckets": "8"} | dict([words])
    assert why in mistake(
        "export", paged, "-o", tmp_path / "b", *(word for pair in given.items() for word in pair)
    )


def test_a_run_that_does_not_tell_items_is_one_line(mistake, run, tmp_path):
    assert "does not say which columns are the items'" in mistake("export", run, "-o", tmp_path / "b", *EAGER)


def test_a_folder_of_something_else_is_one_line(mistake, run):
    assert "cannot be read" in mistake("check", run)
