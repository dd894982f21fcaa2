"""The multi-task ranker of a feed: vectors, histories, smoothed rates, a scene gate, experts, task towers.

Knows the sample by its slots' names; knows nothing of tables, losses or training.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.gates import MMoE, MMoEConfig, SceneGate
from larix.model.heads import Heads
from larix.model.history import HistoryConfig, HistoryReader
from larix.model.inputs import Inputs
from larix.model.mlp import check_dropout, check_widths


@dataclass(frozen=True, kw_only=True, slots=True)
class RankerConfig:
    """Which slots play which part, and the widths.

    ``target``: the slots that make up the candidate in target attention. ``scene``: the scene gate's slot.
    ``histories``: sequence -> how to read it. ``rates``: pairs of dense names (happened, shown), both
    ``log1p`` of a count, of which the network is given the smoothed rate. ``tower``: width of a task's tower,
    with ``dropout``.
    """

    target: tuple[str, ...]
    scene: str
    histories: Mapping[str, HistoryConfig] = field(default_factory=dict)
    rates: tuple[tuple[str, str], ...] = ()
    mmoe: MMoEConfig = field(default_factory=MMoEConfig)
    tower: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self, tower=self.tower)
        check_dropout(self, self.dropout)


class Rates(nn.Module):
    """Smoothed rates from log counts: the logit of ``(happened + prior * strength) / (shown + strength)``.

    ``prior`` and ``strength`` are learned, one of each for every pair of columns (happened, shown).
    """

    happened: Tensor
    shown: Tensor

    def __init__(
        self, columns: Iterable[tuple[int, int]], prior: float = 0.1, strength: float = 20.0
    ) -> None:
        super().__init__()
        pairs = torch.tensor(list(columns), dtype=torch.long).view(-1, 2)
        self.register_buffer("happened", pairs[:, 0].contiguous(), persistent=False)
        self.register_buffer("shown", pairs[:, 1].contiguous(), persistent=False)
        self.prior = nn.Parameter(torch.full((len(pairs),), prior).logit())
        self.strength = nn.Parameter(torch.full((len(pairs),), strength).log())

    def forward(self, dense: Tensor) -> Tensor:
        """``dense [B, d]`` -> float32 ``[B, pairs]``."""
        with torch.autocast(dense.device.type, enabled=False):
            counts = torch.expm1(dense.float())
            strength = self.strength.exp()
            happened = counts[:, self.happened] + torch.sigmoid(self.prior) * strength
            return torch.logit(happened / (counts[:, self.shown] + strength), eps=1e-6)


class Ranker(nn.Module):
    """All pooled vectors, dense values, rates and what the histories tell go through the scene gate into
    experts shared by the tasks (MMoE) and then each task's own tower.

    Raises ConfigError if the config names what the sample does not have.
    """

    def __init__(self, sample: Sample, config: RankerConfig) -> None:
        super().__init__()
        dims = {name: slot.dim for name, slot in sample.id_slots.items()}
        _check_known("slot", (*config.target, config.scene), dims)
        _check_known("sequence", config.histories, sample.sequences)
        _check_known("dense value", [name for pair in config.rates for name in pair], sample.dense)
        self.target, self.scene = config.target, config.scene
        target = sum(dims[name] for name in config.target)
        readers = {
            name: HistoryReader(target, sample.sequences[name], history)
            for name, history in config.histories.items()
        }
        self.histories = nn.ModuleDict(readers)
        self.rates = Rates(
            (sample.dense.index(happened), sample.dense.index(shown)) for happened, shown in config.rates
        )
        features = sum(dims.values()) + len(sample.dense) + len(config.rates)
        features += sum(reader.features for reader in readers.values())
        self.gate = SceneGate(dims[config.scene], features)
        self.experts = MMoE(features, len(sample.tasks), config.mmoe)
        self.heads = Heads(config.mmoe.widths[-1], len(sample.tasks), config.tower, config.dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits ``[B, tasks]`` in the order of ``sample.tasks``; a regression task's is in ``log1p``
        seconds.
        """
        target = torch.cat([inputs[name] for name in self.target], dim=1)
        told = [reader(target, inputs.sequences[name]) for name, reader in self.histories.items()]
        x = torch.cat([inputs.joined, self.rates(inputs.dense), *told], dim=1)
        logits: Tensor = self.heads(self.experts(self.gate(inputs[self.scene], x)))
        return logits


def _check_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"RankerConfig names {what} '{name}'; the sample has {sorted(known)}")
