"""What a sample is: which events are impressions and actions, what belongs together, how labels form, when it is emitted.

The one declaration of the embedded joiner, of the oracle (reference.py) and of the Flink job. Knows none of them.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from larix.errors import ConfigError

IMPRESSION: Final = "impression"  # the kind of impressions, beside the names of actions
RATE, CORRECTION, READY = "sample_rate", "correction", "ready_ms"  # columns of samples
LONGEST_MS: Final = 1 << 45  # of a span: a thousand years
LATEST_MS: Final = 1 << 46  # times from here on, and before 0, are taken for unreadable
END: Final = 1 << 62  # the watermark when the input is over
NEVER: Final = -END  # before every time

Value = str | int | bool
Type = Literal["int64", "string"]


@dataclass(frozen=True)
class Impressions:
    """Events that become samples: those of ``topic`` whose columns equal ``where``. All columns are carried.

    ``key`` is what actions name, ``time`` when it happened (milliseconds), ``event_id`` tells an event from a copy.
    """

    topic: str
    key: str = field(kw_only=True)
    time: str = field(kw_only=True)
    event_id: str = field(kw_only=True)
    where: Mapping[str, Value] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        _check_event(self, "impressions")


@dataclass(frozen=True)
class Action:
    """Events that label samples: those of ``topic`` whose columns equal ``where``; ``value`` is a number that they carry."""

    name: str
    topic: str = field(kw_only=True)
    key: str = field(kw_only=True)
    time: str = field(kw_only=True)
    event_id: str = field(kw_only=True)
    where: Mapping[str, Value] = field(default_factory=dict, kw_only=True)
    value: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.name or self.name == IMPRESSION:
            raise ConfigError(f"an action is called {self.name!r}; take another name")
        _check_event(self, f"action '{self.name}'")
        if self.value == "":
            raise ConfigError(f"action '{self.name}' has an empty column name as its value")


@dataclass(frozen=True)
class Clicked:
    """1 if there was such an action, else 0."""

    action: str


@dataclass(frozen=True)
class Total:
    """The sum of the action's values, in order of time; null, what is no number and what is not finite count as 0."""

    action: str


@dataclass(frozen=True)
class Toggle:
    """1 if the last of both actions, by time, was ``on``, else 0."""

    on: str
    off: str

    def __post_init__(self) -> None:
        if self.on == self.off:
            raise ConfigError(f"a toggle has '{self.on}' to switch it on and off; two actions are needed")


Form = Clicked | Total | Toggle
_FORMS: Final[Mapping[str, type[Form]]] = {"clicked": Clicked, "total": Total, "toggle": Toggle}


@dataclass(frozen=True, kw_only=True)
class Downsample:
    """Keep a share ``rate`` of the samples whose ``label`` is 0. Which ones is a function of seed and key."""

    label: str
    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigError(
                f"negatives are kept at a rate of {self.rate}; it lies above 0 and at most at 1"
            )

    def keeps(self, key: int | str) -> bool:
        """Whether a negative sample of ``key`` stays."""
        return int(hashlib.md5(f"{self.seed}:{key}".encode()).hexdigest()[:8], 16) < self.limit

    @property
    def limit(self) -> float:
        """What the first 8 hex digits of the key's digest must be below."""
        return self.rate * 2**32


@dataclass(frozen=True, kw_only=True)
class JoinSpec:
    """How impressions and actions become samples. `docs/join.md` says each rule; `reference.py` is the rules.

    Times are ``event time``, a column, in milliseconds. An event may be of several kinds; it is then each of them. Kinds
    of one topic share their column of time.

    Args:
        impressions: what becomes samples.
        actions: what labels them.
        labels: how, by name of the label.
        window_s: an action belongs to an impression up to so long after it.
        lateness_s: an event may be so much older than the newest of its partition.
        ahead_s: an event may be so much newer than its append; None: no check.
        emit: ``end``: one sample, when the window has passed; ``at_once``: a sample without actions, then corrections.
        negatives: keep only a share of them; None: all.
        idle_s: a partition without events for so long (wall clock) does not hold back the others; None: it does, and
            samples are a function of the events alone.
        keys: what keys are. Values that cannot be had so are null keys.
        ids: what event ids are, the same way.
    """

    impressions: Impressions
    actions: tuple[Action, ...]
    labels: Mapping[str, Form]
    window_s: float = 1800
    lateness_s: float = 60
    ahead_s: float | None = 60
    emit: Literal["end", "at_once"] = "end"
    negatives: Downsample | None = None
    idle_s: float | None = None
    keys: Type = "int64"
    ids: Type = "string"

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", tuple(self.actions))
        object.__setattr__(self, "labels", dict(self.labels))
        self._check_spans()
        self._check_times()
        self._check_labels()
        for name, value, known in (
            ("emit", self.emit, ("end", "at_once")),
            ("keys", self.keys, ("int64", "string")),
            ("ids", self.ids, ("int64", "string")),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r} is not one of {known}")

    def _check_spans(self) -> None:
        for name in ("window_s", "lateness_s", "ahead_s", "idle_s"):
            seconds = getattr(self, name)
            if seconds is None and name in ("ahead_s", "idle_s"):
                continue
            if (
                not isinstance(seconds, int | float)
                or not math.isfinite(seconds)
                or not 0 <= seconds * 1000 <= LONGEST_MS
            ):
                raise ConfigError(f"{name}={seconds!r}; it is a number of seconds, from 0 on")

    def _check_times(self) -> None:
        names = [action.name for action in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"two actions are called '{twice[0]}'; each needs a name of its own")
        times: dict[str, str] = {}
        for kind in self.kinds.values():
            if times.setdefault(kind.topic, kind.time) != kind.time:
                raise ConfigError(
                    f"topic '{kind.topic}' has its time in '{times[kind.topic]}' and in '{kind.time}'; "
                    "kinds of one topic share their column of time"
                )

    def _check_labels(self) -> None:
        if not self.labels:
            raise ConfigError("a join without a label makes no samples; declare one")
        actions = {action.name: action for action in self.actions}
        taken = {
            RATE,
            CORRECTION,
            READY,
            self.impressions.key,
            self.impressions.time,
            self.impressions.event_id,
        }
        for name, form in self.labels.items():
            if not name or name in taken:
                raise ConfigError(f"a label is called {name!r}, which is a column of every sample; rename it")
            for action in _actions_of(form):
                if action not in actions:
                    raise ConfigError(f"label '{name}' needs action '{action}'; there are {sorted(actions)}")
            if isinstance(form, Total) and actions[form.action].value is None:
                raise ConfigError(
                    f"label '{name}' sums values of action '{form.action}', which has none; give it value=COLUMN"
                )
        if self.negatives is not None and self.negatives.label not in self.labels:
            raise ConfigError(
                f"negatives are told by '{self.negatives.label}', which is none of {[*self.labels]}"
            )

    @property
    def kinds(self) -> dict[str, Impressions | Action]:
        """What an event may be, by name: impressions first, then actions in the order declared."""
        return {IMPRESSION: self.impressions} | {action.name: action for action in self.actions}

    @property
    def topics(self) -> dict[str, str]:
        """The column of time of every topic that is read, by topic."""
        return {kind.topic: kind.time for kind in self.kinds.values()}

    @property
    def made(self) -> tuple[str, ...]:
        """The columns that the join makes, in every sample after those of impressions, which lose to them."""
        rate = () if self.negatives is None else (RATE,)
        correction = (CORRECTION,) if self.emit == "at_once" else ()
        return (*self.labels, *rate, *correction, READY)

    @property
    def window_ms(self) -> int:
        """The attribution window, in milliseconds like event times."""
        return round(self.window_s * 1000)

    @property
    def lateness_ms(self) -> int:
        """The allowed lateness, in milliseconds."""
        return round(self.lateness_s * 1000)

    @property
    def ahead_ms(self) -> int | None:
        """How far an event may be ahead of its append, in milliseconds."""
        return None if self.ahead_s is None else round(self.ahead_s * 1000)

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes and `from_json` turns back into an equal spec."""
        names = {form: name for name, form in _FORMS.items()}
        labels = [
            {"name": name, "form": names[type(form)]} | asdict(form) for name, form in self.labels.items()
        ]
        plain = {
            name: getattr(self, name)
            for name in ("window_s", "lateness_s", "ahead_s", "emit", "idle_s", "keys", "ids")
        }
        return {
            "impressions": asdict(self.impressions),
            "actions": [asdict(action) for action in self.actions],
            "labels": labels,
            "negatives": None if self.negatives is None else asdict(self.negatives),
        } | plain

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "JoinSpec":
        """The spec that `to_json` gave.

        Raises:
            ConfigError: it is something else.
        """
        try:
            given = dict(said)
            labels = {}
            for label in given.pop("labels"):
                parts = dict(label)
                name, form = parts.pop("name"), _FORMS[parts.pop("form")]
                labels[name] = form(**parts)
            negatives = given.pop("negatives", None)
            return cls(
                impressions=Impressions(**given.pop("impressions")),
                actions=tuple(Action(**action) for action in given.pop("actions")),
                labels=labels,
                negatives=None if negatives is None else Downsample(**negatives),
                **given,
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"this is no join's declaration: {error!r}") from error


def _actions_of(form: Form) -> tuple[str, ...]:
    return (form.on, form.off) if isinstance(form, Toggle) else (form.action,)


def _check_event(event: Impressions | Action, what: str) -> None:
    for part in ("topic", "key", "time", "event_id"):
        if not isinstance(getattr(event, part), str) or not getattr(event, part):
            raise ConfigError(f"{what} need a name as their {part}, not {getattr(event, part)!r}")
    for column, value in event.where.items():
        if not isinstance(value, str | int):
            raise ConfigError(
                f"{what}: column '{column}' is compared with {value!r}; take text, a whole number or a bool"
            )
    object.__setattr__(event, "where", dict(event.where))
