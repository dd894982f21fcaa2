import os
import subprocess
import sys

import pytest
import small_feed

COMMANDS = [
    "demo",
    "train",
    "eval",
    "predict",
    "replay",
    "table info",
    "table get",
    "table export",
    "table plan",
    "data convert",
    "data prepare",
    "data simulate",
    "data info",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example_in_80_columns(larix, command):
    told = larix(*command.split(), "--help")
    assert told.code == 0
    assert f"Usage: larix {command}" in told.out
    assert f"Example: larix {command} " in told.out
    assert "[bold]" not in told.out
    assert max(map(len, told.out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["table", "data"])
def test_a_group_and_the_whole_list_their_commands(larix, command):
    for shown in (larix("--help").out, larix().out + larix().err):
        assert all(word in shown for word in ("demo", "train", "eval", "predict", "replay", "table", "data"))
    here = larix(command, "--help").out
    assert all(line.split()[1] in here for line in COMMANDS if line.startswith(command))


def test_help_answers_without_loading_torch():
    code = "import sys; from larix.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "--help"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "RECIPE" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        "train",
        "train kuairand --no-such",
        "no-such",
        "table get",
        "predict x",
        "data simulate -o x --users many",
    ],
)
def test_words_that_are_no_command_exit_with_2(larix, words):
    told = larix(*words.split())
    assert told.code == 2
    assert "Usage: larix" in told.err
    assert "Traceback" not in told.err


def test_a_process_exits_with_0_and_with_2_and_says_why_on_standard_error(process, feed, tmp_path):
    fine = process("data", "info", small_feed.log_of(feed))
    wrong = process("data", "info", tmp_path / "none.parquet")
    out, err = fine.communicate(timeout=60)
    assert (fine.returncode, err) == (0, "")
    assert "rows in 1 file\n" in out
    out, err = wrong.communicate(timeout=60)
    assert (wrong.returncode, out) == (2, "")
    assert err.startswith("larix: no file matches")
    assert err.count("\n") == 1


def test_what_a_mistake_quotes_is_not_taken_for_colours(mistake):
    assert "'[red]x[/red]'" in mistake("train", "[red]x[/red]")


def test_ctrl_c_before_there_is_anything_to_save_exits_with_130(larix, tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text("def mine():\n    raise KeyboardInterrupt\n")
    told = larix("train", f"{recipe}:mine", "--out", tmp_path / "run")
    assert (told.code, told.out, told.err) == (130, "", "larix: stopped\n")
