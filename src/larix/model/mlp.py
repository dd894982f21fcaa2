"""Plain layers: a stack of linear layers, and the plain ranker made of one.

Knows nothing of what the tasks mean, or of sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.inputs import Inputs


def check_dropout(owner: object, dropout: float) -> None:
    """Raise ConfigError unless ``dropout`` is a probability below 1."""
    if not 0 <= dropout < 1:
        raise ConfigError(f"{type(owner).__name__}.dropout is {dropout}; it must be in [0, 1)")


def check_widths(owner: object, **widths: int | tuple[int, ...]) -> None:
    """Raise ConfigError unless each is a whole number above 0, or one or more of them."""
    for name, value in widths.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or any(type(width) is not int or width < 1 for width in numbers):
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value!r}; it must be made of whole numbers above 0"
            )


class MLP(nn.Sequential):
    """Linear, ReLU and dropout for each of ``widths``, the last included: ``[..., features] -> [...,
    widths[-1]]``.
    """

    def __init__(self, features: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(features, width), nn.ReLU()]
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            features = width
        super().__init__(*layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """``widths`` of the hidden layers, ``dropout`` after each."""

    widths: tuple[int, ...] = (512, 256)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self, widths=self.widths)
        check_dropout(self, self.dropout)


class MLPRanker(nn.Module):
    """The plain ranker: every pooled vector and dense value, side by side, through one MLP to one logit a
    task.

    Sequences are not read.
    """

    takes_bf16 = True  # a linear layer reads the inputs

    def __init__(self, sample: Sample, config: MLPConfig | None = None) -> None:
        super().__init__()
        config = config or MLPConfig()
        features = sum(slot.dim for slot in sample.id_slots.values()) + len(sample.dense)
        self.hidden = MLP(features, config.widths, config.dropout)
        self.out = nn.Linear(config.widths[-1], len(sample.tasks))

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits ``[B, tasks]``."""
        logits: Tensor = self.out(self.hidden(inputs.joined))
        return logits
