from pathlib import Path

import numpy as np
import pytest
import torch
from nets import experts, feed, outputs

from larix.compile import (
    Eager,
    OpenVINO,
    Precision,
    Samples,
    capture,
    compile_forms,
    everywhere,
    load_forms,
    optimise,
    split,
)
from larix.compile.feeds import parts_of
from larix.compile.forms import USERS
from larix.compile.lower import lower
from larix.errors import ConfigError


def hoisted():
    captured = capture(
        experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]}
    )
    return captured, optimise(captured)[0]


def whole(forms, parts):
    """What the forms make of a request."""
    mine = forms.user.run({each.name: parts[each.name] for each in forms.user.graph.inputs})
    kept = {**parts, **mine}
    return {each.name: kept[each.name] for each in forms.alone.graph.inputs}


@pytest.mark.parametrize("backend", [Eager(), OpenVINO()], ids=lambda each: each.name)
def test_a_folder_holds_three_forms_that_give_what_the_graph_gives(backend, tmp_path):
    try:
        backend.version()
    except ConfigError as error:
        pytest.skip(str(error))
    captured, graph = hoisted()
    compile_forms(graph, tmp_path, backend=backend, buckets=(4, 8))
    forms = load_forms(tmp_path, streams=2)
    assert (forms.user.buckets, forms.alone.buckets, forms.together.buckets) == (USERS, (4, 8), (4, 8))
    assert forms.alone.streams == 2
    requests = [parts_of(captured.inputs, graph, feed(captured, rows, seed=rows)) for rows in (3, 11, 1)]
    wanted = [outputs(graph, parts, rows)["output"] for parts, rows in zip(requests, (3, 11, 1), strict=True)]
    given = [whole(forms, parts) for parts in requests]
    for arrays, logits in zip(given, wanted, strict=True):
        np.testing.assert_allclose(forms.alone.run(arrays)["output"], logits, rtol=1e-4, atol=1e-5)
    for order in (1, -1):  # what a run left behind is not seen by the next
        for found, logits in zip(forms.together.run_together(given[::order]), wanted[::order], strict=True):
            np.testing.assert_allclose(found["output"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("backend", [Eager(), OpenVINO()], ids=lambda each: each.name)
def test_users_who_share_a_run_get_each_what_they_get_alone(backend, kind, tmp_path):
    try:
        backend.version()
    except ConfigError as error:
        pytest.skip(str(error))
    captured, graph = hoisted()
    low = everywhere(graph, kind, Samples(arrays=feed(graph, 128, requests=128)))
    compile_forms(graph, tmp_path, backend=backend, buckets=(4,), precision=low)
    user = load_forms(tmp_path).user
    asked = feed(captured, 20, requests=20)["x"][:, :8]
    (name,) = (each.name for each in user.graph.inputs)
    alone = [user.run({name: asked[at : at + 1]}) for at in range(20)]
    assert len({each[out].tobytes() for each in alone for out in each}) > 10, "users differ"
    for count in (2, 3, 8, 7, 20, 1):  # what stands behind the last user is of a run before
        together = user.run({name: asked[-count:]})
        for at, mine in enumerate(alone[-count:]):
            for out, values in mine.items():
                np.testing.assert_allclose(together[out][at : at + 1], values, rtol=1e-4, atol=1e-5)


def test_each_form_is_computed_in_the_precision_chosen_for_the_whole(tmp_path):
    captured, graph = hoisted()
    low = everywhere(graph, "bf16")
    halves = split(graph)
    ours, theirs = low.of(halves.user), low.of(halves.candidates)
    assert ours.units
    assert theirs.units
    assert dict(ours.units) | dict(theirs.units) == dict(low.units)
    compile_forms(graph, tmp_path, backend=Eager(), buckets=(4,), precision=low)
    forms = load_forms(tmp_path)
    for form in (forms.user, forms.alone, forms.together):
        assert any(weight.dtype == torch.bfloat16 for weight in form.graph.weights.values())
    parts = parts_of(captured.inputs, graph, feed(captured, 4))
    wanted = outputs(lower(graph, low), parts, 4)["output"]
    assert np.abs(wanted - outputs(graph, parts, 4)["output"]).max() > 1e-6
    given = whole(forms, parts)
    np.testing.assert_array_equal(
        forms.alone.run(given)["output"], wanted
    )  # what is handed over loses nothing
    np.testing.assert_allclose(
        forms.together.run_together([given])[0]["output"], wanted, rtol=1e-5, atol=1e-6
    )
    assert Precision().of(graph) == Precision()


def test_a_network_without_a_user_has_two_forms_in_place_of_three(tmp_path):
    _, graph = hoisted()
    compile_forms(graph, tmp_path, backend=Eager(), buckets=(4,))
    assert load_forms(tmp_path).user is not None
    plain = optimise(capture(experts(), {"x": torch.randn(4, 12)}))[0]
    compile_forms(plain, tmp_path, backend=Eager(), buckets=(4,))
    forms = load_forms(tmp_path)
    assert forms.user is None
    x = np.ones((2, 12), np.float32)
    assert forms.alone.run({"x": x})["output"].shape == (2, 2)


def test_a_folder_without_forms_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="has nothing compiled for"):
        load_forms(Path(tmp_path, "nothing"))
