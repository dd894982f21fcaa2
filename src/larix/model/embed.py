"""Embed: looked-up rows as torch leaves, gradients back to rows; the only place where torch meets tables.

Knows nothing of what a ranker does with the tensors, nor of how rows are found or stepped.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from larix.batch import Batch, Floats, History
from larix.embedding import core
from larix.embedding.layout import Buffer, Layout, Output, Slot
from larix.embedding.lookup import Lookup
from larix.errors import ConfigError
from larix.features import Sample, kernels
from larix.model.inputs import Columns, Inputs, SequenceInput, columns_of


class Store(Protocol):
    """What Embed asks of a store; ``embedding.Tables`` and the oracle both give it."""

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Buffer], *, insert: bool = True) -> Lookup:
        """Look all slots up, into ``outs``."""
        ...

    def apply(
        self,
        lookup: Lookup,
        grads: Sequence[Buffer],
        *,
        lr_scale: float = 1.0,
        clicks: Floats | None = None,
    ) -> None:
        """Step the rows of ``lookup`` by ``grads``; ``clicks`` of each sample are for their scores."""
        ...


def layout_of(sample: Sample, *, bf16: bool = False) -> Layout:
    """Output 0, ``pooled``, holds all id slots in order and has room for the dense values behind them, in bfloat16 if so
    asked; then one output a sequence, ``newest`` long.
    """
    pooled = columns_of({name: slot.dim for name, slot in sample.id_slots.items()})
    outputs = [Output(name="pooled", width=_width(pooled) + len(sample.dense), bf16=bf16)]
    slots = [
        Slot(name=name, table=slot.table, output=0, column=pooled[name][0], pool=slot.pool)
        for name, slot in sample.id_slots.items()
    ]
    for name, sequence in sample.sequences.items():
        columns = columns_of({element: slot.dim for element, slot in sequence.ids.items()})
        slots += [
            Slot(
                name=f"{name}.{element}",
                table=slot.table,
                output=len(outputs),
                column=columns[element][0],
                pool="sequence",
            )
            for element, slot in sequence.ids.items()
        ]
        outputs.append(Output(name=name, width=_width(columns), length=sequence.newest))
    return Layout(outputs=tuple(outputs), slots=tuple(slots))


class Embed:
    """Batches in, a ranker's Inputs out; gradients back.

    On the CPU tensors and the store's buffers are one memory, both ways. On ``device="cuda"`` the buffers
    are pinned and copied without waiting, and the rows stay in RAM. Every batch gets buffers of its own, so
    any number may be in flight; see ``train.memory`` for why fresh ones cost nothing. Two threads may not be
    inside one Embed at once.

    ``bf16``: inputs to train on have ``whole``, and so ``pooled``, in bfloat16, for a ranker that takes that: see
    ``Inputs``. Others are float32.
    """

    def __init__(
        self, sample: Sample, tables: Store, device: str | torch.device = "cpu", *, bf16: bool = False
    ) -> None:
        self.sample = sample
        self.tables = tables
        self.layout = layout_of(sample)
        self._trained = layout_of(sample, bf16=True) if bf16 else self.layout
        self.device = device_of(device)
        self._columns = columns_of({name: slot.dim for name, slot in sample.id_slots.items()})
        self._elements = {
            name: columns_of({element: slot.dim for element, slot in sequence.ids.items()})
            for name, sequence in sample.sequences.items()
        }
        self._lookups: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __call__(self, batch: Batch, train: bool) -> Inputs:
        """Look all of ``batch`` up.

        ``train=True`` inserts ids never seen and makes leaves that gradients gather in; ``train=False``
        writes nothing: an id never seen reads as zeros.
        """
        pinned = self.device.type == "cuda"
        layout = self._trained if train else self.layout
        outs = [
            torch.empty(
                _shape(output, batch.size),
                dtype=torch.bfloat16 if output.bf16 else torch.float32,
                pin_memory=pinned,
            )
            for output in layout.outputs
        ]
        buffers = [_buffer(out) for out in outs]
        lookup = self.tables.gather(layout, batch, buffers, insert=train)
        width = outs[0].shape[1] - batch.dense.shape[1]
        core.place(layout.outputs[0], buffers[0], batch.dense)
        leaves = [out.to(self.device, non_blocking=True).requires_grad_(train) for out in outs]
        sequences = {
            name: self._sequence(batch.sequences[name], rows, self._elements[name])
            for name, rows in zip(self._elements, leaves[1:], strict=True)
        }
        whole = leaves[0]
        inputs = Inputs(
            pooled=whole[:, :width],
            columns=self._columns,
            dense=self.send(batch.dense) if layout.outputs[0].bf16 else whole.detach()[:, width:],
            sequences=sequences,
            whole=whole,
        )
        if train:
            self._lookups[whole] = lookup
        return inputs

    def apply(self, inputs: Inputs, lr_scale: float = 1.0, clicks: Floats | None = None) -> None:
        """Step the rows behind ``inputs`` by the gradients that ``backward`` left in its leaves; once only.

        A leaf that the loss does not depend on counts as gradient zero. ``clicks`` float32 ``[B]``, how often each
        sample was clicked, is for the scores of rows: see ``embedding.FeatureScore``.
        """
        known = inputs.whole is not None
        lookup: Lookup | None = self._lookups.pop(inputs.whole, None) if known else None  # type: ignore[no-untyped-call]
        if lookup is None:
            raise ConfigError(
                "these inputs have no rows to step: they were looked up with train=False, or applied before"
            )
        grads = [_on_host(leaf.grad, leaf) for leaf in leaves_of(inputs)]
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.tables.apply(lookup, [_buffer(grad) for grad in grads], lr_scale=lr_scale, clicks=clicks)

    def send(self, array: NDArray[Any]) -> Tensor:
        """Return ``array`` as a tensor on the device: the same memory on the CPU, a copy on CUDA."""
        tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def _sequence(self, history: History, rows: Tensor, columns: Columns) -> SequenceInput:
        mask, dense = padded(history, rows.shape[1])
        return SequenceInput(rows=rows, columns=columns, mask=self.send(mask), dense=self.send(dense))


def device_of(name: str | torch.device) -> torch.device:
    """The device of that name, ``cpu`` or ``cuda``; ConfigError if this machine or this torch does not have it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no device '{name}'; use 'cpu' or 'cuda'") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{name}' is not supported; use 'cpu' or 'cuda'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{name}' is not there: torch finds no CUDA device; use device='cpu'")
    return device


def padded(history: History, length: int) -> tuple[NDArray[np.bool_], Floats]:
    """Mask ``[size, length]``, True where there is an event; dense values ``[size, length, k]``."""
    return kernels.padded(history.offsets, history.dense, length)


def leaves_of(inputs: Inputs) -> list[Tensor]:
    """The tensors that gradients come back through, in the order of the layout's outputs."""
    assert inputs.whole is not None, "only an Embed makes inputs that have rows behind them"
    return [inputs.whole, *(sequence.rows for sequence in inputs.sequences.values())]


def _on_host(grad: Tensor | None, leaf: Tensor) -> Tensor:
    if grad is None:
        return torch.zeros(leaf.shape, dtype=leaf.dtype)
    if grad.device.type == "cuda":
        return torch.empty(grad.shape, dtype=grad.dtype, pin_memory=True).copy_(grad, non_blocking=True)
    return grad.contiguous()


def _buffer(tensor: Tensor) -> Buffer:
    """The memory of a contiguous tensor, as the store has it: numpy has no bfloat16."""
    found: Buffer = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return found


def _shape(output: Output, size: int) -> tuple[int, ...]:
    return (size, output.length, output.width) if output.length else (size, output.width)


def _width(columns: Columns) -> int:
    return sum(dim for _, dim in columns.values())
