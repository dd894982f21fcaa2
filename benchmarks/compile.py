"""A multi-task net compiled with our rules and without: 1024 inputs of which 60% are the user's, 4 experts 512-256, 4 towers.

One request, one thread, everything measured in turn in one process. A case is ``CANDIDATES PRECISION RULES``; RULES is
``all``, ``none``, ``no NAME`` or ``only NAME``. ``--quick`` measures one back-end in fewer rounds.

Then the halves of this net and of the KuaiRand ranker against the whole: ``NET CANDIDATES PRECISION halves`` is one after the
other, ``alone`` the second where the first is kept, ``plain`` that without the back-end's own rules; ``NET 8xCANDIDATES PRECISION
together`` is 8 requests in one run.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from measure import absent, emit
from net import INPUTS, USER, Net
from numpy.typing import NDArray
from torch import nn

from larix import compile as compiling
from larix.compile.backends.backend import exported, zeros
from larix.compile.feeds import parts_of
from larix.compile.rules import mix
from larix.errors import ConfigError

Call = Callable[[], NDArray[Any]]


def net() -> nn.Module:
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():  # as after some training
        for norm in (each for each in made.modules() if isinstance(each, nn.BatchNorm1d)):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.2, 0.6)
    return made.eval()


def request(candidates: int, seed: int = 0) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).standard_normal((candidates, INPUTS)).astype(np.float32)
    x[:, :USER] = x[0, :USER]
    return x


def rules_of(name: str, rules: Sequence[compiling.Rule]) -> Sequence[compiling.Rule]:
    if name in ("all", "none"):
        return rules if name == "all" else ()
    word, _, rule = name.partition(" ")
    return [each for each in rules if (each.__name__ == rule) == (word == "only")]


def eager(module: nn.Module, x: NDArray[np.float32], bf16: bool) -> Call:
    tensor = torch.from_numpy(x)

    def call() -> NDArray[Any]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return module(tensor).float().numpy()

    return call


def compiled(
    graph: compiling.Graph,
    x: NDArray[np.float32],
    backend: compiling.Backend,
    kind: str,
    rules: str,
    folder: str,
) -> Call:
    """Ours, from an artifact; the arrays are those that a server would have: the user's columns once."""
    candidates = len(x)
    small, _ = compiling.optimise(graph, rules_of(rules, compiling.RULES), candidates)
    samples = compiling.Samples(arrays=parts_of(graph.inputs, small, {"x": request(256, seed=1)}, each=True))
    backend.rules = rules_of(rules, type(backend).rules)
    artifact = compiling.compile(
        small,
        folder,
        captured=graph.inputs,
        backend=backend,
        buckets=(candidates,),
        precision=compiling.everywhere(small, kind, samples),
    )
    session = compiling.load(artifact)
    arrays = {name: np.ascontiguousarray(each) for name, each in session.parts({"x": x}).items()}
    return lambda: session.run(arrays)["output"]


def plain(graph: compiling.Graph, x: NDArray[np.float32]) -> Call:
    """OpenVINO as its own guide has it: the net converted, its own choice of precision, none of our code on the way."""
    import openvino

    model = openvino.convert_model(exported(graph, len(x)))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    ready = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: np.array(next(iter(ready.infer([x], share_inputs=True, share_outputs=True).values())))


def measure(calls: Mapping[Any, Call], rounds: int) -> dict[Any, list[float]]:
    """Milliseconds of each on one core, in turn, so that a noisy moment hits all alike.

    They are of the thread's own time, which is the clock's on an idle machine and leaves out what others took on a busy one.
    """
    found: dict[Any, list[float]] = {key: [] for key in calls}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(rounds):
        for key, call in calls.items():
            call()  # its own weights into the caches
            start = time.thread_time()
            call()
            call()
            found[key].append((time.thread_time() - start) / 2 * 1e3)
    os.sched_setaffinity(0, cores)
    return found


def report(backend: str, times: Mapping[Any, list[float]], errors: Mapping[Any, float]) -> None:
    for key, values in times.items():
        subject, case = key
        emit(
            "compile", subject, case, "ms", values, "ms", backend=backend, machine_load=list(os.getloadavg())
        )
        emit("compile", subject, case, "max_error", [errors[key]], "logit", backend=backend)
    ours = {case: values for (subject, case), values in times.items() if subject == "larix"}
    others = {case: values for (subject, case), values in times.items() if subject != "larix"}
    case = next(case for case in ours if case.endswith(" all"))
    slower = {"without_rules": ours[case.replace(" all", " none")]}
    slower |= {
        f"{each.split()[1]}_without_rules": values
        for each, values in ours.items()
        if each.endswith(" none") and each != case.replace(" all", " none")
    }
    slower |= {case.split(" ", 1)[1].replace(" ", "_"): values for case, values in others.items()}
    for name, values in slower.items():  # of each round, so that noise that lasts longer than a round cancels
        ratios = [slow / fast for slow, fast in zip(values, ours[case], strict=True)]
        emit("compile", "larix", case, f"times_{name}", ratios, "ratio", backend=backend)


def kuairand() -> compiling.Graph:
    """The recipe's ranker as it is before training; what an item's columns do not touch is per request."""
    from larix.model.ranker import Ranker
    from larix.recipes import kuairand as recipe

    torch.manual_seed(0)
    sample, theirs = recipe.sample(), set(recipe.pages().columns)
    own = [name for name, feature in sample.features.items() if not theirs & set(feature.columns)]
    return compiling.capture_ranker(sample, Ranker(sample, recipe.config()).eval(), own)


def fed(graph: compiling.Graph, rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Arrays for a captured graph: those of one request, whose columns are alike in all rows."""
    rng = np.random.default_rng(seed)
    found = {}
    for each in graph.inputs:
        like = zeros(each, rows)
        array = rng.standard_normal(like.shape)
        array = array > 0 if like.dtype == bool else array.astype(like.dtype)
        at = 0
        for column in each.columns:
            if column.per_request:
                array[..., at : at + column.width] = array[:1, ..., at : at + column.width]
            at += column.width
        found[each.name] = array
    return found


def in_halves(
    name: str, graph: compiling.Graph, kind: str, candidates: int, sizes: Sequence[int], rounds: int
) -> None:
    """What cutting a graph in two costs and gives, and what the back-end's own rules give, on OpenVINO and without padding."""
    small, _ = compiling.optimise(graph, candidates=candidates)
    precision = compiling.everywhere(small, kind)
    many = 8
    buckets = sorted({*sizes, *(many * size for size in sizes), candidates})
    with tempfile.TemporaryDirectory() as folder:
        artifact = compiling.compile(small, folder, buckets=(candidates,), precision=precision)
        compiling.compile_forms(small, folder, buckets=buckets, precision=precision)
        whole, forms = compiling.load(artifact), compiling.load_forms(folder)
        half = compiling.split(small).candidates
        bare = compiling.OpenVINO()
        bare.rules = ()
        formless = compiling.compile(
            half,
            f"{folder}/plain",
            backend=bare,
            buckets=(sizes[-1], candidates),
            precision=precision.of(half),
        )
        plain = compiling.load(formless)
    user = forms.user
    assert user is not None

    def parts(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
        cut = parts_of(graph.inputs, small, fed(graph, rows, seed))
        return {key: np.ascontiguousarray(each) for key, each in cut.items()}

    def kept(given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        known = {**given, **user.run({each.name: given[each.name] for each in user.graph.inputs})}
        return {each.name: known[each.name] for each in forms.alone.graph.inputs}

    one, few = parts(candidates), kept(parts(sizes[-1]))
    again = kept(one)
    calls: dict[Any, Call] = {
        "whole": lambda: whole.run(one)["output"],
        "halves": lambda: forms.alone.run(kept(one))["output"],
        "alone": lambda: forms.alone.run(again)["output"],
        "plain": lambda: plain.run(again)["output"],
    }
    error = max(float(np.abs(calls[key]() - calls["whole"]()).max()) for key in ("halves", "alone"))
    page = {"alone": lambda: forms.alone.run(few)["output"], "plain": lambda: plain.run(few)["output"]}
    for key, values in measure(page, rounds).items():
        emit("compile", "larix", f"{name} {sizes[-1]} {kind} {key}", "ms", values, "ms", backend="openvino")
    head = f"{name} {candidates} {kind}"
    times = measure(calls, rounds)
    for key, values in times.items():
        emit(
            "compile", "larix", f"{head} {key}", "ms", values, "ms", backend="openvino", cores=os.cpu_count()
        )
    emit("compile", "larix", f"{head} halves", "max_error", [error], "logit", backend="openvino")
    handed = sum(each.nbytes for key, each in again.items() if forms.alone.graph.input(key).per_request)
    emit("compile", "larix", f"{head} halves", "kept_bytes", [handed], "bytes", backend="openvino")
    for size in sizes:
        requests = [kept(parts(size, seed)) for seed in range(many)]

        def apart(those: Any = requests) -> NDArray[Any]:
            return np.concatenate([forms.alone.run(each)["output"] for each in those])

        def together(those: Any = requests) -> NDArray[Any]:
            return np.concatenate([each["output"] for each in forms.together.run_together(those)])

        times = measure({"apart": apart, "together": together}, rounds)
        case = f"{name} {many}x{size} {kind} together"
        emit(
            "compile", "larix", case, "ms", times["together"], "ms", backend="openvino", cores=os.cpu_count()
        )
        emit("compile", "larix", case, "max_error", [float(np.abs(apart() - together()).max())], "logit")
        ratios = [slow / fast for slow, fast in zip(times["apart"], times["together"], strict=True)]
        emit("compile", "larix", case, "times_apart", ratios, "ratio", backend="openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="OpenVINO only, fewer rounds: under a minute")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--halves", action="store_true", help="only the halves against the whole")
    args = parser.parse_args()
    torch.set_num_threads(1)
    module, x = net(), request(args.candidates)
    graph = compiling.capture(
        module,
        {"x": torch.randn(4, INPUTS)},
        per_request={"x": [("user", USER, True), ("item", INPUTS - USER, False)]},
    )
    sizes = (16,) if args.quick else (8, 16, 50)
    for name, whole in (("net", graph), ("kuairand", kuairand())):
        for kind in ("fp32",) if args.quick else ("fp32", "bf16"):
            in_halves(name, whole, kind, args.candidates, sizes, 7 if args.quick else 20)
    if args.halves:
        return
    small, _ = compiling.optimise(graph, candidates=args.candidates)
    for rules, those in (("none", graph), ("all", small)):
        work = compiling.cost(those, args.candidates)
        emit("compile", "larix", f"{args.candidates} {rules}", "gflop", [work.flops / 1e9], "GFLOP")
    exact = eager(module, x, False)()
    backends = [compiling.OpenVINO()] if args.quick else [compiling.OpenVINO(), compiling.OnnxRuntime()]
    # Each rule's share: what it does alone, and what is lost without it.
    names = [rule.__name__ for rule in (*compiling.RULES, mix)]
    shares = [] if args.quick else [f"{word} {name}" for name in names for word in ("only", "no")]
    for backend in backends:
        try:
            backend.version()
        except ConfigError as error:
            absent("compile", backend.name, str(error))
            continue
        kinds = [kind for kind in ("fp32", "bf16", "int8") if kind in backend.kinds]
        for kind in kinds[:2] if args.quick else kinds:
            head = f"{args.candidates} {kind}"
            wanted = ["all", "none", *(shares if kind == "bf16" and backend.name == "openvino" else [])]
            with tempfile.TemporaryDirectory() as folder:
                calls: dict[Any, Call] = {
                    (f"torch {torch.__version__}", f"{args.candidates} fp32 eager"): eager(module, x, False)
                }
                if kind == "bf16":
                    calls[f"torch {torch.__version__}", f"{args.candidates} bf16 eager"] = eager(
                        module, x, True
                    )
                if backend.name == "openvino" and kind == "bf16":
                    calls[f"openvino {backend.version()}", f"{args.candidates} bf16 default"] = plain(
                        graph, x
                    )
                for rules in wanted:
                    place = f"{folder}/{rules}"
                    calls["larix", f"{head} {rules}"] = compiled(graph, x, backend, kind, rules, place)
                if kind == "int8" and "bf16" in backend.kinds:
                    # the bound on AUC lets `choose` take int8 where bf16 is
                    place, case = f"{folder}/bf16", f"{args.candidates} bf16 none"
                    calls["larix", case] = compiled(graph, x, backend, "bf16", "none", place)
                errors = {key: float(np.abs(call() - exact).max()) for key, call in calls.items()}
                report(backend.name, measure(calls, 15 if args.quick else 30), errors)


if __name__ == "__main__":
    main()
