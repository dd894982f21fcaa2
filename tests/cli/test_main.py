import os
import subprocess
import sys
from itertools import pairwise

import pytest
import small_feed
import typer

from larix.cli.main import app


def commands(group, before=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example_in_80_columns(larix, command):
    told = larix(*command.split(), "--help")
    assert told.code == 0
    assert f"Usage: larix {command}" in told.out
    assert f"Example: larix {command} " in told.out
    assert "[bold]" not in told.out
    assert max(map(len, told.out.splitlines())) <= 80


def test_help_flows_on_a_narrow_terminal(larix, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line.strip() for line in larix("demo", "--help").out.splitlines()]
    first = lines.index("")
    text = " ".join(lines[first : next(at for at, line in enumerate(lines) if "Options" in line)])
    assert "are sent through the event log, the join" in text
    begun = next(line for line in lines if line.startswith("First it is trained"))
    following = lines[lines.index(begun) + 1 :]
    paragraph = following[: following.index("")]
    assert len(paragraph) > 5
    for line, after in pairwise(paragraph):  # none is left short of what the next begins with
        assert len(line) + len(after.split()[0]) >= 57


@pytest.mark.parametrize("command", ["table", "data", "log"])
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
