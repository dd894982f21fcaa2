import os
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from nets import Experts, experts, feed, outputs
from test_ranker import ranker, sample
from torch import nn

from larix.compile import (
    Eager,
    OnnxRuntime,
    afresh,
    capture,
    capture_ranker,
    everywhere,
    load_forms,
    optimise,
)
from larix.compile.afresh import compile_apart, with_weights
from larix.compile.capture import CONSTANT
from larix.compile.feeds import parts_of
from larix.errors import ConfigError, StorageError

LEVELS = {"x": [("u", 8, True), ("c", 4, False)]}


def captured(net):
    return capture(net, {"x": torch.randn(4, 12)}, per_request=LEVELS)


def another():
    torch.manual_seed(7)
    net = Experts()
    for each in (*net.parameters(), *net.buffers()):
        if each.is_floating_point():
            each.data.uniform_(0.1, 1)
    return net.eval()


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_graph_with_other_weights_is_what_capturing_their_module_gives(as_bytes):
    state = another().state_dict()
    graph = with_weights(captured(experts()), safetensors.torch.save(state) if as_bytes else state, "module.")
    expected = captured(another())
    assert graph.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        assert torch.equal(graph.weights[name], value)
    arrays = feed(graph)
    found = outputs(optimise(graph)[0], parts_of(graph.inputs, optimise(graph)[0], arrays), 5)["output"]
    np.testing.assert_allclose(found, outputs(expected, arrays, 5)["output"], rtol=1e-5, atol=1e-5)


def test_a_rankers_state_is_taken_by_its_own_names_and_what_no_state_has_stays():
    graph = capture_ranker(sample(), ranker(), ["user", "history"])
    constants = [name for name in graph.weights if name.startswith(CONSTANT)]
    assert constants
    other = ranker()
    with torch.no_grad():
        for each in other.parameters():
            each.mul_(0.5)
    fresh = with_weights(graph, other.state_dict())
    expected = capture_ranker(sample(), other, ["user", "history"])
    assert all(torch.equal(fresh.weights[name], value) for name, value in expected.weights.items())
    assert not any(
        fresh.weights[name] is graph.weights[name] for name in graph.weights if name not in constants
    )


def test_weights_of_another_network_are_refused_by_name():
    graph, state = captured(experts()), another().state_dict()
    with pytest.raises(
        StorageError, match=r"weight 'out.weight' is not there; this network has torch.float32 \[1, 8\]"
    ):
        with_weights(graph, {name: each for name, each in state.items() if name != "out.weight"}, "module.")
    with pytest.raises(StorageError, match=r"weight 'out.bias' is torch.float32 \[3\]"):
        with_weights(graph, {**state, "out.bias": torch.zeros(3)}, "module.")
    with pytest.raises(StorageError, match=r"weight 'out.bias' is torch.float64 \[1\]"):
        with_weights(graph, {**state, "out.bias": torch.zeros(1, dtype=torch.float64)}, "module.")
    whole = safetensors.torch.save(state)
    for damaged in (b"", whole[:-5], b"\xff" * 64):
        with pytest.raises(StorageError, match="these are no weights"):
            with_weights(graph, damaged, "module.")


class Constant(nn.Module):
    """Holds what its state_dict does not."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 3.0), persistent=False)
        self.out = nn.Linear(4, 1)

    def forward(self, x):
        return self.out(x * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_constants_are_told_from_weights():
    graph = capture(Constant(), {"x": torch.randn(3, 4)})
    assert sorted(name.startswith(CONSTANT) for name in graph.weights) == [False, False, True, True]
    other = Constant()
    found = outputs(with_weights(graph, other.state_dict(), "module."), feed(graph), 5)["output"]
    with torch.no_grad():
        np.testing.assert_allclose(
            found, other(torch.from_numpy(feed(graph)["x"])).numpy(), rtol=1e-5, atol=1e-6
        )


def test_another_process_compiles_what_this_one_would(tmp_path):
    graph = with_weights(captured(experts()), another().state_dict(), "module.")
    low = everywhere(optimise(captured(experts()))[0], "bf16")
    compile_apart(graph, tmp_path / "forms", backend=Eager(), buckets=(4, 8), precision=low, nice=1)
    assert [each.name for each in tmp_path.iterdir()] == ["forms"]
    forms = load_forms(tmp_path / "forms")
    assert forms.alone.buckets == (4, 8)
    arrays = feed(graph, rows=6)
    parts = parts_of(graph.inputs, optimise(graph)[0], arrays)
    kept = {**parts, **forms.user.run({each.name: parts[each.name] for each in forms.user.graph.inputs})}
    found = forms.alone.run({each.name: kept[each.name] for each in forms.alone.graph.inputs})["output"]
    expected = outputs(captured(another()), arrays, 6)["output"]
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert np.abs(found - expected).max() > 1e-6, "computed in bf16, as was chosen"


def test_a_process_that_ends_without_a_word_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(StorageError, match="compiling in a process of its own failed: it ended with 1"):
        compile_apart(captured(experts()), tmp_path / "forms", backend=Eager())
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_there_is_raised_here(tmp_path):
    graph = captured(experts())
    low = everywhere(optimise(graph)[0], "bf16")
    with pytest.raises(ConfigError, match=r"onnxruntime does not compute in \['bf16'\] here"):
        compile_apart(graph, tmp_path / "forms", backend=OnnxRuntime(), precision=low)
    with pytest.raises(StorageError, match="compiling in a process of its own failed: ValueError"):
        compile_apart(graph, tmp_path / "forms", backend=Eager(), idle_s=0, nice="much")
    with pytest.raises(StorageError, match=r"compiling took longer than 0.1 s"):
        compile_apart(graph, tmp_path / "forms", backend=Eager(), idle_s=0.1, timeout_s=0.1)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_disk_that_takes_nothing_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        compile_apart(captured(experts()), tmp_path / "file" / "forms", backend=Eager())


def spy(monkeypatch, code):
    """Have every process that compiles run a line of code as soon as it has begun, before it imports anything of ours."""
    first, ours = afresh._CODE.split("from larix", 1)
    monkeypatch.setattr(afresh, "_CODE", f"{first}{code}\nfrom larix{ours}")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be told their cores")
def test_it_compiles_on_the_cores_that_it_is_told_though_this_thread_has_fewer(tmp_path, monkeypatch):
    seen, allowed = tmp_path / "seen", os.sched_getaffinity(0)
    spy(monkeypatch, f"open({str(seen)!r}, 'w').write(repr(os.sched_getaffinity(0)))")
    os.sched_setaffinity(0, {min(allowed)})
    try:
        compile_apart(captured(experts()), tmp_path / "made", backend=Eager(), buckets=(8,), cores=allowed)
    finally:
        os.sched_setaffinity(0, allowed)
    assert seen.read_text() == repr(allowed)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a policy for what nobody else wants")
def test_it_has_what_nobody_else_wants_of_the_cores_from_its_first_import_on(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    spy(monkeypatch, f"open({str(seen)!r}, 'a').write(f'{{os.sched_getscheduler(0)}} {{os.nice(0)}} ')")
    compile_apart(captured(experts()), tmp_path / "made", backend=Eager(), buckets=(8,))
    assert seen.read_text().split()[0::2] == [str(os.SCHED_IDLE)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a policy for what nobody else wants")
def test_where_there_are_no_policies_it_gives_way_as_far_as_it_can(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    spy(monkeypatch, f"open({str(seen)!r}, 'a').write(f'{{os.sched_getscheduler(0)}} {{os.nice(0)}}')")
    refusing = "import os\ndef refuse(*_): raise PermissionError\nos.sched_setscheduler = refuse\n"
    monkeypatch.setattr(afresh, "_CODE", refusing + afresh._CODE)
    compile_apart(captured(experts()), tmp_path / "made", backend=Eager(), buckets=(8,))
    assert seen.read_text() == f"{os.SCHED_OTHER} 19"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a policy for what nobody else wants")
def test_one_that_finds_nothing_left_of_the_cores_is_begun_again_and_takes_some(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    starving = "import time; nice == 'idle' and time.sleep(60)"
    told = f"open({str(seen)!r}, 'a').write(f'{{os.sched_getscheduler(0)}} {{os.nice(0)}} ')"
    spy(monkeypatch, f"{told}\n{starving}")
    compile_apart(captured(experts()), tmp_path / "made", backend=Eager(), buckets=(8,), idle_s=1.0, nice=2)
    own = os.nice(0)
    policies, nices = seen.read_text().split()[0::2], seen.read_text().split()[1::2]
    assert policies == [str(os.SCHED_IDLE), str(os.SCHED_OTHER)]
    assert nices == [str(own), str(min(own + 2, 19))]
    assert load_forms(tmp_path / "made").alone.buckets == (8,)


def test_what_is_not_compiled_to_the_end_is_not_there(tmp_path, monkeypatch):
    spy(monkeypatch, "import larix.compile.forms as forms; forms._TOGETHER = chr(0)")  # the second of them
    with pytest.raises(StorageError, match="failed: ValueError"):
        compile_apart(captured(experts()), tmp_path / "made", backend=Eager(), buckets=(8,))
    assert not list(tmp_path.iterdir()), "half a network would be taken for a whole one"
