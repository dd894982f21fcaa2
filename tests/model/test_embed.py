import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import features as fx
from larix.batch import Batch, History, Jagged
from larix.embedding import SGD, Layout, Output, Slot, Tables, TableSpec, Uniform, reference
from larix.errors import ConfigError
from larix.model.embed import Embed, layout_of, leaves_of, padded

SAMPLE = fx.Sample(
    user=fx.Id("user_id", dim=4),
    tags=fx.Ids("tags", dim=2, pool="mean"),
    age=fx.Dense("age"),
    history=fx.Sequence(user="hist_user", act=fx.Id("hist_act", dim=3), play=fx.Dense("hist_play"), newest=3),
    tasks=(fx.Binary("click"),),
)
SPECS = [
    TableSpec(name=name, dim=dim, optimizer=SGD(lr=1.0), init=Uniform())
    for name, dim in SAMPLE.tables.items()
]


def batch_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    size, total = len(lengths), sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Batch(
        size=size,
        ids={
            "user": Jagged(rng.integers(-(2**63), 2**63 - 1, size)),
            "tags": Jagged(rng.integers(0, 5, total), offsets),
        },
        sequences={
            "history": History(
                offsets,
                {"user": rng.integers(0, 5, total), "act": rng.integers(0, 2, total)},
                rng.normal(size=(total, 1)).astype(np.float32),
            )
        },
        dense=rng.normal(size=(size, 1)).astype(np.float32),
    )


def test_the_layout_holds_pooled_slots_side_by_side_then_one_output_a_sequence():
    assert layout_of(SAMPLE) == Layout(
        outputs=(Output(name="pooled", width=6 + 1), Output(name="history", width=7, length=3)),
        slots=(
            Slot(name="user", table="user", output=0, column=0, pool="sum"),
            Slot(name="tags", table="tags", output=0, column=4, pool="mean"),
            Slot(name="history.user", table="user", output=1, column=0, pool="sequence"),
            Slot(name="history.act", table="history.act", output=1, column=4, pool="sequence"),
        ),
    )
    layout_of(SAMPLE).check(SAMPLE.tables)


@pytest.fixture(params=[Tables, reference.Tables], ids=["native", "oracle"])
def tables(request):
    return request.param(SPECS, seed=7)


def test_inputs_hold_the_rows_of_the_tables(tables):
    batch = batch_of([2, 0, 3])
    inputs = Embed(SAMPLE, tables)(batch, train=True)
    users = tables.lookup("user", batch.ids["user"].values)
    np.testing.assert_array_equal(inputs["user"].detach().numpy(), users)
    tags = tables.lookup("tags", batch.ids["tags"].values)
    np.testing.assert_allclose(inputs["tags"][2].detach().numpy(), tags[2:].mean(axis=0), rtol=1e-6)
    assert inputs["tags"][1].tolist() == [0, 0]
    history = inputs.sequences["history"]
    assert history.mask.tolist() == [[True, True, False], [False, False, False], [True, True, True]]
    acts = tables.lookup("history.act", batch.sequences["history"].ids["act"])
    np.testing.assert_array_equal(history["act"][2].detach().numpy(), acts[2:])
    assert not history.rows[0, 2].any()
    np.testing.assert_array_equal(
        history.dense[0, :, 0].numpy(), [*batch.sequences["history"].dense[:2, 0], 0]
    )
    np.testing.assert_array_equal(inputs.dense.numpy(), batch.dense)


def test_gradients_step_the_rows_once(tables):
    batch = batch_of([1, 2])
    embed = Embed(SAMPLE, tables)
    inputs = embed(batch, train=True)
    before = tables.lookup("user", batch.ids["user"].values)
    (2 * inputs["user"].sum() + inputs.sequences["history"]["act"].sum()).backward()
    embed.apply(inputs, lr_scale=0.5)
    np.testing.assert_allclose(tables.lookup("user", batch.ids["user"].values), before - 1.0, rtol=1e-6)
    with pytest.raises(ConfigError, match="applied before"):
        embed.apply(inputs)


def test_a_leaf_the_loss_does_not_use_leaves_its_rows_alone(tables):
    batch = batch_of([1, 2])
    embed = Embed(SAMPLE, tables)
    inputs = embed(batch, train=True)
    acts = tables.items("history.act")
    inputs["user"].sum().backward()
    embed.apply(inputs)
    for before, after in zip(acts, tables.items("history.act"), strict=True):
        np.testing.assert_array_equal(before, after)


def test_without_train_nothing_is_written_and_unknown_ids_read_as_zeros(tables):
    embed = Embed(SAMPLE, tables)
    inputs = embed(batch_of([1, 2]), train=False)
    assert len(tables) == 0
    assert not inputs.pooled.any()
    assert not inputs.pooled.requires_grad
    with pytest.raises(ConfigError, match="train=False"):
        embed.apply(inputs)


def test_tensors_and_gradients_are_the_buffers_the_tables_work_on():
    seen = []

    class Watched(Tables):
        def gather(self, layout, batch, outs, *, insert=True):
            seen.extend(out.ctypes.data for out in outs)
            return super().gather(layout, batch, outs, insert=insert)

        def apply(self, lookup, grads, **more):
            seen.extend(grad.ctypes.data for grad in grads)
            super().apply(lookup, grads, **more)

    embed = Embed(SAMPLE, Watched(SPECS))
    inputs = embed(batch_of([1, 2]), train=True)
    leaves = leaves_of(inputs)
    assert seen == [leaf.data_ptr() for leaf in leaves]
    sum((leaf**2).sum() for leaf in leaves).backward()
    embed.apply(inputs)
    assert seen[2:] == [leaf.grad.data_ptr() for leaf in leaves]


def test_batches_in_flight_keep_their_values_and_their_gradients_apart(tables):
    embed = Embed(SAMPLE, tables)
    batches = [batch_of([1, 2], seed) for seed in range(3)]
    flying = [embed(batch, train=True) for batch in batches]
    copies = [inputs.pooled.detach().clone() for inputs in flying]
    for scale, inputs in enumerate(flying, 1):
        (scale * inputs["user"]).sum().backward()
    assert all(torch.equal(inputs.pooled, copy) for inputs, copy in zip(flying, copies, strict=True))
    before = [tables.lookup("user", batch.ids["user"].values) for batch in batches]
    for inputs in flying:
        embed.apply(inputs)
    for scale, (batch, old) in enumerate(zip(batches, before, strict=True), 1):
        np.testing.assert_allclose(tables.lookup("user", batch.ids["user"].values), old - scale, rtol=1e-5)


def test_in_bf16_inputs_to_train_on_are_rounded_and_gradients_step_the_rows_as_float32_ones_do(tables):
    batch, twin = batch_of([2, 0, 3]), type(tables)(SPECS, seed=7)
    whole, half = Embed(SAMPLE, twin), Embed(SAMPLE, tables, bf16=True)
    plain, inputs = whole(batch, train=True), half(batch, train=True)
    assert (inputs.joined.dtype, inputs.pooled.dtype) == (torch.bfloat16, torch.bfloat16)
    assert torch.equal(inputs.joined, plain.joined.to(torch.bfloat16))
    assert torch.equal(inputs.sequences["history"].rows, plain.sequences["history"].rows)
    np.testing.assert_array_equal(inputs.dense.numpy(), batch.dense)  # as they are
    for each, one in ((whole, plain), (half, inputs)):
        weights = torch.linspace(-1, 1, one.joined.numel()).view(one.joined.shape)
        (one.joined.to(torch.bfloat16) * weights.to(torch.bfloat16)).sum().backward()
        each.apply(one)
    for name in SAMPLE.tables:
        for one, other in zip(twin.items(name), tables.items(name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert half(batch, train=False).joined.dtype == torch.float32


def test_inputs_that_are_dropped_are_forgotten():
    embed = Embed(SAMPLE, Tables(SPECS))
    for _ in range(3):
        embed(batch_of([1, 2]), train=True)
    gc.collect()
    assert len(embed._lookups) == 0


def test_a_sample_of_dense_values_only_and_an_empty_batch_pass():
    declared = fx.Sample(age=fx.Dense("age"), tasks=(fx.Binary("click"),))
    batch = Batch(size=2, ids={}, sequences={}, dense=np.ones((2, 1), np.float32))
    assert Embed(declared, Tables([]))(batch, train=True).pooled.shape == (2, 0)
    inputs = Embed(SAMPLE, Tables(SPECS))(batch_of([]), train=True)
    assert inputs.pooled.shape == (0, 6)
    assert inputs.sequences["history"].rows.shape == (0, 3, 7)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=20), st.integers(0, 3))
def test_padding_keeps_every_event_in_its_place(lengths, width):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.arange(1, sum(lengths) * width + 1, dtype=np.float32).reshape(sum(lengths), width)
    mask, dense = padded(History(offsets, {}, values), 4)
    assert mask.sum(axis=1).tolist() == lengths
    for sample, length in enumerate(lengths):
        np.testing.assert_array_equal(dense[sample, :length], values[offsets[sample] : offsets[sample + 1]])
        assert not dense[sample, length:].any()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    for name in ("cuda", "cuda:1", "meta", "abacus"):
        with pytest.raises(ConfigError, match=f"'{name}'.*use"):
            Embed(SAMPLE, Tables(SPECS), name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_rows_and_gradients_cross_and_come_back():
    batch = batch_of([1, 2])
    host, device = Tables(SPECS, seed=1), Tables(SPECS, seed=1)
    for store, where in ((host, "cpu"), (device, "cuda")):
        embed = Embed(SAMPLE, store, where)
        inputs = embed(batch, train=True)
        assert inputs.pooled.device.type == where
        (inputs.pooled.sum() * inputs.dense.sum() + inputs.sequences["history"].rows.sum()).backward()
        embed.apply(inputs)
    for one, other in zip(host.items("user"), device.items("user"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
