import numpy as np
import pytest
import torch

from larix import features as fx
from larix.batch import Batch, History, Jagged
from larix.embedding import SGD, Tables, TableSpec, Uniform
from larix.errors import ConfigError
from larix.model.embed import Embed
from larix.model.still import keep_still

SAMPLE = fx.Sample(
    user=fx.Id("user_id", dim=4),
    tags=fx.Ids("tags", dim=2, pool="mean"),
    age=fx.Dense("age"),
    history=fx.Sequence(user="hist_user", newest=3),
    tasks=(fx.Binary("click"),),
)
SPECS = [
    TableSpec(name=name, dim=dim, optimizer=SGD(lr=1.0), init=Uniform())
    for name, dim in SAMPLE.tables.items()
]


def batch_of(lengths, first):
    """Samples of users from ``first`` on, with as many tags and events of other users as ``lengths`` says."""
    size, total = len(lengths), sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Batch(
        size=size,
        ids={"user": Jagged(np.arange(first, first + size)), "tags": Jagged(np.arange(total), offsets)},
        sequences={
            "history": History(offsets, {"user": -1 - np.arange(total)}, np.zeros((total, 0), np.float32))
        },
        dense=np.ones((size, 1), np.float32),
    )


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(7 + 4, 1)

    def forward(self, inputs):
        return self.layer(torch.cat([inputs.joined, inputs.sequences["history"].rows.sum(1)], dim=1))


def stepped(still):
    """Rows before and after a step of users only pooled, tags, and what the history reads; and the dense gradient."""
    torch.manual_seed(0)
    net, batch = Net(), batch_of([2, 0, 3], 10)
    embed = Embed(SAMPLE, Tables(SPECS, seed=7))
    handle = keep_still(net, still)
    inputs = embed(batch, train=True)
    past = batch.sequences["history"].ids["user"]
    read = {
        "user": ("user", batch.ids["user"].values),
        "tags": ("tags", batch.ids["tags"].values),
        "past": ("user", past),
    }

    def rows():
        return {name: embed.tables.lookup(table, ids) for name, (table, ids) in read.items()}

    before = rows()
    net(inputs).sum().backward()
    embed.apply(inputs)
    return (
        {name: (before[name] != after).any() for name, after in rows().items()},
        net.layer.weight.grad,
        handle,
        net,
        embed,
    )


@pytest.mark.parametrize(
    ("still", "moved"),
    [
        ((), {"user": True, "tags": True, "past": True}),
        (("user",), {"user": False, "tags": True, "past": True}),
        (("user", "tags"), {"user": False, "tags": False, "past": True}),
        (("history",), {"user": True, "tags": True, "past": False}),
    ],
)
def test_rows_of_the_slots_stay_and_all_else_learns_as_before(still, moved):
    found, dense, *_ = stepped(still)
    assert found == moved
    torch.testing.assert_close(dense, stepped(())[1])


def test_once_removed_they_learn_again():
    _, _, handle, net, embed = stepped(("user",))
    handle.remove()
    batch = batch_of([1], 50)
    inputs = embed(batch, train=True)
    before = embed.tables.lookup("user", batch.ids["user"].values)
    net(inputs).sum().backward()
    embed.apply(inputs)
    assert (embed.tables.lookup("user", batch.ids["user"].values) != before).all()


def test_inputs_without_gradients_pass_and_a_slot_that_is_not_there_is_named():
    net = Net()
    keep_still(net, ("usr",))
    embed = Embed(SAMPLE, Tables(SPECS, seed=7))
    net(embed(batch_of([1], 0), train=False))
    with pytest.raises(
        ConfigError,
        match="no slot or sequence 'usr' to keep still; there are \\['history', 'tags', 'user'\\]",
    ):
        net(embed(batch_of([1], 0), train=True))
