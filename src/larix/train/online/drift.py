"""When what is learned is not to be published: bad numbers, calibration outside a band, a loss that jumps.

Knows metrics by their names; knows nothing of what is published.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """What holds publishing. Looked at when a window of metrics ends, but for bad numbers, which count at once.

    ``calibration``: the band that each binary task's predicted over observed rate must lie in, once a window has
    ``positives`` of them. ``loss_jump``: a window's logloss may be at most so many times the mean of the last
    ``memory`` healthy windows. A batch whose loss or gradients are not finite is skipped, and holds until ``healthy``
    batches after it were trained on; the other alarms hold until a window is healthy. None: never.
    """

    calibration: tuple[float, float] | None = (0.5, 2.0)
    positives: int = 100
    loss_jump: float | None = 1.5
    memory: int = 10
    healthy: int = 20

    def __post_init__(self) -> None:
        if self.calibration is not None:
            low, high = self.calibration
            if not 0 <= low < high:
                raise ConfigError(
                    f"Drift.calibration is {self.calibration}; it must be a band such as (0.5, 2.0)"
                )
        if self.loss_jump is not None and not self.loss_jump > 1:
            raise ConfigError(f"Drift.loss_jump is {self.loss_jump}; it must be above 1")
        for name in ("positives", "memory", "healthy"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Drift.{name} is {getattr(self, name)}; it must be at least 1")


class DriftAlarm:
    """Whether publishing is held, and why: ``why`` names each reason, by what raised it; empty while all is well."""

    def __init__(self, drift: Drift) -> None:
        self.drift = drift
        self.why: dict[str, str] = {}
        self._losses: dict[str, list[float]] = {}
        self._since_bad = 0

    @property
    def held(self) -> bool:
        """Whether nothing is to be published."""
        return bool(self.why)

    def bad_numbers(self, text: str) -> None:
        """A batch was skipped, for its numbers or the model's are not finite."""
        self._since_bad = 0
        self.why["numbers"] = text

    def trained(self) -> None:
        """A batch was trained on."""
        if "numbers" in self.why:
            self._since_bad += 1
            if self._since_bad >= self.drift.healthy:
                del self.why["numbers"]

    def look(self, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        """Judge a window's metrics by task: see ``Metrics.compute``."""
        for name, metrics in tasks.items():
            if metrics["kind"] == "binary" and metrics["positives"] >= self.drift.positives:
                self._calibration(name, metrics)
                self._loss(name, metrics)

    def state(self) -> dict[str, Any]:
        """JSON for ``restore``."""
        return {
            "why": dict(self.why),
            "losses": {k: list(v) for k, v in self._losses.items()},
            "since": self._since_bad,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave; what is switched off by now holds nothing any more."""
        limits = {"calibration": self.drift.calibration, "loss": self.drift.loss_jump}
        self.why = {
            what: why
            for what, why in state["why"].items()
            if limits.get(what.partition(" of ")[0], True) is not None
        }
        self._losses = {name: list(losses) for name, losses in state["losses"].items()}
        self._since_bad = state["since"]

    def _calibration(self, name: str, metrics: Mapping[str, Any]) -> None:
        band, found = self.drift.calibration, metrics["calibration"]
        if band is None:
            return
        if found is None or not band[0] <= found <= band[1]:
            said = "is not a number" if found is None else f"is {found:.3f}"
            self.why[f"calibration of {name}"] = (
                f"calibration of '{name}' {said}, outside {band[0]:g} to {band[1]:g}"
            )
        else:
            self.why.pop(f"calibration of {name}", None)

    def _loss(self, name: str, metrics: Mapping[str, Any]) -> None:
        jump, loss = self.drift.loss_jump, metrics["logloss"]
        if jump is None or loss is None:
            return
        before = self._losses.setdefault(name, [])
        usual = sum(before) / len(before) if before else loss
        if loss > jump * usual:
            self.why[f"loss of {name}"] = (
                f"logloss of '{name}' is {loss:.4f}, {loss / usual:.2f} times its usual {usual:.4f}"
            )
            return
        self.why.pop(f"loss of {name}", None)
        before.append(loss)
        del before[: -self.drift.memory]
