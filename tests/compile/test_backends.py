import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from nets import experts, feed, ops_of, outputs

from larix import compile as lc
from larix.compile import session as session_module
from larix.compile.backends import openvino
from larix.compile.backends.backend import zeros
from larix.compile.feeds import parts_of
from larix.compile.lower import lower
from larix.errors import ConfigError, StorageError

BACKENDS = {each.name: each for each in (lc.Eager, lc.OpenVINO, lc.OnnxRuntime)}
TOLERANCE = {"fp32": 1e-5, "bf16": 0.05, "int8": 0.2}


def there(name):
    backend = BACKENDS[name]()
    try:
        backend.version()
    except ConfigError as error:
        pytest.skip(str(error))
    return backend


@pytest.fixture(scope="module")
def net():
    graph = lc.capture(
        experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]}
    )
    return graph, lc.optimise(graph)[0]


def samples(graph, rows=128):
    return lc.Samples(arrays=feed(graph, rows, requests=rows))


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_back_end_gives_what_the_oracle_gives(name, kind, net, tmp_path):
    backend = there(name)
    if kind not in backend.kinds:
        pytest.skip(f"{name} has no {kind}")
    graph, small = net
    precision = lc.everywhere(small, kind, samples(small))
    assert kind == "fp32" or precision.units
    session = lc.load(
        lc.compile(
            small, tmp_path, captured=graph.inputs, backend=backend, buckets=(4, 8), precision=precision
        )
    )
    for rows in (1, 4, 7, 11):
        whole = feed(graph, rows, seed=rows)
        found = session.run(session.parts(whole))["output"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, outputs(graph, whole, rows)["output"], atol=TOLERANCE[kind])


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_openvino_knows_every_size_when_it_compiles(kind, net):
    """What it does not know it finds out at every run, which takes twice as long for a small graph."""
    backend = there("openvino")
    _, small = net
    lowered = lower(small, lc.everywhere(small, kind, samples(small)))
    for graph in (lowered, lc.lifted(lowered)):
        for rows in (4, 8):
            model = openvino._core().import_model(backend.compile(graph, rows), "CPU", openvino._settings(1))
            ports = {openvino._number(port): list(port.get_partial_shape()) for port in model.inputs}
            told = {at: zeros(each, rows).shape for at, each in enumerate(graph.inputs)}
            assert {at: tuple(size.to_string() for size in sizes) for at, sizes in ports.items()} == {
                at: tuple(map(str, sizes)) for at, sizes in told.items()
            }


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_the_forms_that_a_back_end_is_quickest_with_give_the_same(kind, net, tmp_path):
    backend = there("openvino")
    graph, small = net
    precision = lc.everywhere(small, kind)
    products = [node.name for node in small.nodes if node.op == "aten.bmm.default"]
    assert products
    assert set(products) <= {*precision.units, *(products if kind == "fp32" else ())}
    artifact = lc.compile(small, tmp_path, backend=backend, buckets=(8,), precision=precision)
    session = lc.load(artifact)
    assert "bmm" not in ops_of(session.graph)
    assert "mul" in ops_of(session.graph)
    assert artifact.precision.units == {
        name: how for name, how in precision.units.items() if name not in products
    }
    whole = feed(graph, 5)
    found = session.run(parts_of(graph.inputs, small, whole))["output"]
    np.testing.assert_allclose(found, outputs(graph, whole, 5)["output"], atol=TOLERANCE[kind])


def test_a_precision_of_another_graph_is_refused_although_forms_may_leave_products_out(net, tmp_path):
    with pytest.raises(ConfigError, match=r"the precision names \['nobody'\]"):
        lc.compile(net[1], tmp_path, backend=lc.Eager(), precision=lc.Precision(units={"nobody": "bf16"}))


@pytest.mark.parametrize("name", BACKENDS)
def test_inputs_that_no_output_needs_may_be_given(name, tmp_path):
    backend = there(name)

    class One(torch.nn.Module):
        def forward(self, x, idle):
            return torch.relu(x)

    graph = lc.capture(One(), {"idle": torch.randn(3, 2), "x": torch.randn(3, 4)})
    session = lc.load(lc.compile(graph, tmp_path, backend=backend, buckets=(3,)))
    arrays = feed(graph, 3)
    np.testing.assert_array_equal(session.run(arrays)["output"], np.maximum(arrays["x"], 0))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_artifact_that_is_not_one_is_refused(name, net):
    backend = there(name)
    with pytest.raises(StorageError, match="refuses the artifact of 4 rows"):
        backend.load(net[1], [(4, b"not a model")], 1)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_run_lets_other_threads_run(name, tmp_path):
    """While a stream works, a Python thread counts on: it could not if the GIL were held."""
    backend = there(name)
    net = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(6)))
    graph = lc.capture(net, {"input": torch.randn(2, 1024)})
    session = lc.load(lc.compile(graph, tmp_path, backend=backend, buckets=(512,)))
    arrays = {"input": np.ones((512, 1024), np.float32)}
    span = []

    def work():
        start = time.perf_counter()
        session.run(arrays)
        span.append((start, time.perf_counter()))

    thread = threading.Thread(target=work)
    ticks = []
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.0005)
    ((start, end),) = span
    assert end - start > 0.004
    assert sum(start + 0.002 < tick < end - 0.001 for tick in ticks) >= 2


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("openvino", "openvino", "openvino"), ("onnxruntime", "onnxruntime", "onnx")],
)
def test_a_back_end_that_is_not_installed_says_which_extra_is_missing(name, package, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'larix\[{extra}\]'"):
        BACKENDS[name]().version()


@pytest.mark.parametrize("name", BACKENDS)
def test_an_array_may_be_large_written_into_again_or_read_only(name, net, tmp_path):
    graph, small = net
    rows = 8192
    session = lc.load(lc.compile(small, tmp_path, backend=there(name), buckets=(rows,)))
    theirs = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    assert theirs.nbytes > session_module._COPIED, "such an array is handed over, not copied"
    shown = theirs[:]
    shown.flags.writeable = False
    for turn, given in enumerate([theirs, shown, shown, theirs]):
        theirs += turn
        mine = np.full((1, 8), turn, np.float32)
        whole = {"x": np.concatenate([np.broadcast_to(mine, (rows, 8)), theirs], axis=1)}
        found = session.run({"x.request": mine, "x.candidate": given})["output"]
        np.testing.assert_allclose(found, outputs(graph, whole, rows)["output"], rtol=1e-4, atol=1e-4)


GONE = """
import gc, os, signal, threading
import torch
from larix import compile as lc

graph = lc.capture(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()), {"input": torch.randn(2, 8)})
held = [lc.compile(graph, FOLDER, buckets=[4])]
held.append(lc.load(held[0]))  # the plugin is loaded by the main thread

def drop():
    held.clear()
    gc.collect()

other = threading.Thread(target=drop)
other.start()
other.join()
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGTERM)
print(len(heard))
"""


def test_a_process_whose_networks_are_gone_takes_a_signal(tmp_path):
    """See ``openvino._core``."""
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-c", f"FOLDER = {str(tmp_path / 'made')!r}\n{GONE}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


SILENT = """
import os, sys, time
os.fork = lambda: print("forked") or os._exit(3)
from larix import compile as lc
lc.OpenVINO().version()
import openvino
time.sleep(1.0)  # reports are sent by a thread
print("openvino_telemetry" in sys.modules)
"""


def test_openvino_neither_forks_the_process_nor_reports_how_it_is_used():
    pytest.importorskip("openvino_telemetry")
    done = subprocess.run(
        [sys.executable, "-c", SILENT],
        capture_output=True,
        text=True,
        env={
            **{name: value for name, value in os.environ.items() if name != "CI"},
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stdout + done.stderr
