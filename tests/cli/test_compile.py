import json

import pytest

from larix.compile import OpenVINO, find


def test_explain_says_what_each_rule_did_and_saves(larix, run):
    told = larix("compile", run, "--explain", "--per-request", "user,active")
    assert told.code == 0
    lines = told.out.splitlines()
    assert any(line.startswith("drop ") and "FLOP" in line for line in lines)
    assert any("Linear split, 12 columns per request" in line for line in lines)
    assert lines[-1].startswith("A request of 500 candidates: ")


def test_explain_says_what_form_the_back_end_is_given(larix, run, monkeypatch):
    def halved(graph):
        return graph, ["a form of its own"]

    monkeypatch.setattr(OpenVINO, "rules", (halved,))
    told = larix("compile", run, "--explain").out
    assert "halved   in the form that openvino is quickest with\n         a form of its own" in told
    assert "a form of its own" not in larix("compile", run, "--explain", "--backend", "eager").out


def test_the_group_is_per_request_unless_told_otherwise(larix, run):
    assert "Linear split, 8 columns per request" in larix("compile", run, "--explain").out


def test_an_artifact_is_made_within_the_bound(larix, run, tmp_path):
    told = larix(
        "compile", run, "-o", tmp_path, "--backend", "eager", "--buckets", "8", "--auc-loss", "0.0005"
    )
    assert told.code == 0, told.err
    artifact = find(tmp_path)
    assert artifact.buckets == (8,)
    assert artifact.precision.measured["auc_loss"] <= 0.0005
    assert json.loads((artifact.folder / "manifest.json").read_text())["precision"]["units"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "say --explain"),
        (["--explain", "--per-request", "usr"], "per_request names ['usr']"),
        (["-o", "x", "--backend", "tensorrt"], "there is no back-end 'tensorrt'"),
        (["-o", "x", "--backend", "eager", "--buckets", "many"], "are no numbers"),
    ],
)
def test_mistakes_are_one_line(mistake, run, words, why):
    assert why in mistake("compile", run, *words)
