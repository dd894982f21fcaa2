"""How the first weights of a row are drawn. Knows nothing of the draws themselves: see ``birth``."""

from dataclasses import dataclass

from larix.embedding import ranges


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """Every weight is born as ``value``."""

    value: float = 0.0

    def __post_init__(self) -> None:
        ranges.bounded(self, -ranges.LARGEST, value=self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """Weights are born uniform in ``[-scale, scale)``, a pure function of (seed, table, id)."""

    scale: float = 0.05

    def __post_init__(self) -> None:
        ranges.positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """Weights are born about normal: a sum of four uniforms, bounded at 3.5 ``std``, pure as ``Uniform``."""

    std: float = 0.01

    def __post_init__(self) -> None:
        ranges.positive(self, std=self.std)


Init = Constant | Uniform | Normal
