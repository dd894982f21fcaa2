"""One model: the version that answers, those to go back to, one on trial with some users, one in the shadow.

Knows nothing of files, nor of how a version is loaded or computes.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from types import MappingProxyType

from larix.errors import ConfigError
from larix.feed import LiveValueModel
from larix.serve.engine import Pages, Target
from larix.serve.models.canary import Canary
from larix.serve.models.edition import Edition
from larix.serve.models.leaving import Leaving
from larix.serve.models.shadow import Shadow, ShadowReport
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.service import Columns, ModelStatus, State, VersionStatus

_LOG = logging.getLogger(__name__)
_COME_UP_S, _LOOK_S = 1.0, 0.005
_TOLD = 8  # versions that could not be loaded, in the status


@dataclass(frozen=True, kw_only=True, slots=True)
class _Routes:
    """Who answers, as of one instant: put in place by one store, so that requests take no lock."""

    editions: Mapping[str, Edition] = field(default_factory=dict)  # by version, the newest last
    live: str = ""
    trial: Canary | None = None
    shadow: Shadow | None = None


class Model:
    """Any number of threads may ask; those who change it take turns.

    ``keep``: how many former versions stay in memory, stopped, so that going back to them takes no time. What is let go of
    goes on answering what it began; after its last request the next `mind` frees it.
    """

    def __init__(self, name: str, *, keep: int = 1) -> None:
        if keep < 0:
            raise ConfigError(f"model '{name}' is to keep {keep} former versions; it must be 0 or more")
        self.name = name
        self.trouble = ""  # what keeps versions from the parts that they are to have
        self._keep = keep
        self._routes = _Routes()
        self._former: list[str] = []  # the newest last
        self._told: dict[str, VersionStatus] = {}  # those not in the routes
        self._leaving = Leaving()
        self._why = "nothing was loaded yet"  # why nothing is live
        self._turn = threading.RLock()

    # What requests ask.

    def route(self, request: Request) -> Target:
        """Who answers ``request``: the version that it names, the one on trial for its users, or the live one.

        Refusal: UNKNOWN if it names another, UNAVAILABLE if there is none.
        """
        routes = self._routes
        version = request.version
        if not version and routes.trial is not None and routes.trial.takes(request.user):
            version = routes.trial.version
        return self._edition(routes, version).target

    def edition(self, version: str = "") -> Edition:
        """A version, or the live one. Refusal as `route`."""
        return self._edition(self._routes, version)

    def answered(self, request: Request, answer: Answer) -> None:
        """Be told of an answer: the shadow may score its request, too. Takes microseconds and never raises."""
        shadow = self._routes.shadow
        if shadow is not None and answer.stamp.version != shadow.version:
            shadow.offer(request, answer)

    @property
    def live(self) -> str:
        """The live version; "" if there is none."""
        return self._routes.live

    @property
    def versions(self) -> tuple[str, ...]:
        """Those in memory, the newest last."""
        return tuple(self._routes.editions)

    @property
    def status(self) -> ModelStatus:
        """All versions, the newest first, then those that are leaving and could not be had.

        ``reason`` of a version that is ready: what keeps it from its newest state or value model, if anything does.
        """
        with self._turn:
            found = {
                version: VersionStatus(
                    version=version,
                    state=State.READY,
                    reason=_trouble(edition, self.trouble if version == self._routes.live else ""),
                )
                for version, edition in self._routes.editions.items()
            }
            others = dict(self._told)
            for version in self._leaving.names:
                if version not in others:
                    text = "it has left; what it began is still being answered, or a session holds it"
                    others[version] = VersionStatus(version=version, state=State.UNAVAILABLE, reason=text)
            loading = [each for each in others.values() if each.state is State.LOADING]
            gone = [
                each
                for each in others.values()
                if each.state is not State.LOADING and each.version not in found
            ]
            return ModelStatus(
                name=self.name,
                versions=(*loading, *reversed(found.values()), *reversed(gone)),
                live=self._routes.live,
            )

    @property
    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """What versions tell of themselves, and of trials and shadows, by version."""
        routes = self._routes
        found = {version: dict(edition.gauges) for version, edition in routes.editions.items()}
        if (trial := routes.trial) is not None and trial.version in found:
            found[trial.version]["trial_share"] = trial.share
        if (shadow := routes.shadow) is not None and shadow.version in found:
            found[shadow.version] |= {"shadow_share": shadow.share, **shadow.report().gauges}
        return found

    # What whoever runs it says.

    def mind(self) -> None:
        """Look at value models' files, do what editions have to, free what has left: now and then, off the answers' path."""
        self._leaving.sweep()
        for edition in self._routes.editions.values():
            edition.mind()
            pages = edition.target.pages
            if isinstance(pages, Pages):
                pages.refresh()

    def loading(self, version: str) -> None:
        """A version is on its way."""
        with self._turn:
            self._told[version] = VersionStatus(version=version, state=State.LOADING)

    def failed(self, version: str, reason: str) -> None:
        """It could not be had; everything stays as it is."""
        with self._turn:
            self._tell(version, reason)
            if not self._routes.live:
                self._why = f"version '{version}': {reason}"

    def add(self, version: str, edition: Edition) -> None:
        """It is there: it answers who names it."""
        with self._turn:
            if version in self._routes.editions:
                raise ConfigError(f"model '{self.name}' has a version '{version}'; let that go first")
            self._told.pop(version, None)
            self._put(editions={**self._routes.editions, version: edition})

    def promote(self, version: str) -> None:
        """Have it answer everybody; a trial ends, and a shadow that it was. The version before is kept, or let go of.

        One that follows the same run as the version before comes up to its rows first, for what was answered with is not to be
        unlearned; if it does not within a second, it answers all the same.
        """
        with self._turn:
            if version == self._routes.live:
                return
            edition = self._edition(self._routes, version)
            edition.start()
        self._come_up(edition)
        with self._turn:
            before = self._routes.live
            if version == before:
                return
            self._edition(self._routes, version)  # nobody has let go of it meanwhile
            trial, shadow = self._routes.trial, self._routes.shadow
            self._put(live=version, trial=None)
            self._former = [each for each in self._former if each != version]
            if shadow is not None and shadow.version == version:
                self.end_shadow()
            if before:
                self._former.append(before)
            self._tidy([before, trial.version if trial is not None else ""])

    def rollback(self) -> str:
        """Have the version before answer everybody again; the live one leaves. Return which it is.

        Refusal UNAVAILABLE if none was kept.
        """
        with self._turn:
            if not self._former:
                raise Refusal(
                    Why.UNAVAILABLE, f"model '{self.name}' has no former version in memory to go back to"
                )
            left, version = self._routes.live, self._former.pop()
            trial = self._routes.trial
            self._edition(self._routes, version).start()
            self._put(live=version, trial=None)
            self._tidy([left, trial.version if trial is not None else ""])
            self._tell(left, f"it was rolled back to '{version}'")
            return version

    def try_on(self, version: str, share: float, *, salt: str = "") -> None:
        """Have it answer ``share`` of the users; see Canary. Another version on trial leaves.

        ConfigError if it is the live one, or takes other columns than that does.
        """
        with self._turn:
            if version == self._routes.live:
                raise ConfigError(f"version '{version}' of model '{self.name}' answers everybody already")
            canary = Canary(model=self.name, version=version, share=share, salt=salt)
            edition = self._edition(self._routes, version)
            live = self._routes.editions.get(self._routes.live)
            if live is not None and not _read_alike(live.columns, edition.columns):
                raise ConfigError(
                    f"version '{version}' of model '{self.name}' takes other requests than '{self._routes.live}', whose users it "
                    "would answer; have it named by those who ask for it, or promote it"
                )
            edition.start()
            before = self._routes.trial
            self._put(trial=canary)
            self._tidy([before.version if before is not None else ""])

    def end_trial(self) -> None:
        """The live version answers everybody; the one on trial leaves. Promote that instead if it did well."""
        with self._turn:
            trial = self._routes.trial
            self._put(trial=None)
            self._tidy([trial.version if trial is not None else ""])

    def shadow(self, version: str, share: float) -> None:
        """Have it score ``share`` of the requests too, off their path; see Shadow. One before it ends."""
        with self._turn:
            edition = self._edition(self._routes, version)
            shadow = Shadow(version, lambda: edition.target.scorer, share=share)
            edition.start()
            shadow.start()
            before = self._routes.shadow
            self._put(shadow=shadow)
            if before is not None:
                before.stop()
                self._tidy([before.version])

    def end_shadow(self) -> ShadowReport | None:
        """End it, and return what it found."""
        with self._turn:
            shadow = self._routes.shadow
            if shadow is None:
                return None
            self._put(shadow=None)
            shadow.stop()
            self._tidy([shadow.version])
            return shadow.report()

    @property
    def trial(self) -> Canary | None:
        """Which version is on trial with whom; None if none is."""
        return self._routes.trial

    @property
    def in_shadow(self) -> tuple[str, float] | None:
        """Which version is in the shadow, and of what share of the requests; None if none is."""
        shadow = self._routes.shadow
        return None if shadow is None else (shadow.version, shadow.share)

    @property
    def shadow_report(self) -> ShadowReport | None:
        """What the shadow has found so far; None without one."""
        shadow = self._routes.shadow
        return None if shadow is None else shadow.report()

    def drop(self, version: str) -> None:
        """Let go of a version that nobody is sent to. ConfigError if it is live, on trial or in the shadow."""
        with self._turn:
            self._edition(self._routes, version)
            if version in self._needed():
                raise ConfigError(
                    f"version '{version}' of model '{self.name}' is in use; promote another first"
                )
            self._former = [each for each in self._former if each != version]
            self._let_go([version])

    def unload(self) -> None:
        """Let go of all versions."""
        with self._turn:
            self.end_shadow()
            self._why = "it was unloaded; load it again"
            self._former = []
            self._put(live="", trial=None)
            self._let_go(list(self._routes.editions))

    def _edition(self, routes: _Routes, version: str) -> Edition:
        edition = routes.editions.get(version or routes.live)
        if edition is not None:
            return edition
        if version:
            raise Refusal(
                Why.UNKNOWN,
                f"model '{self.name}' has no version '{version:.80}' in memory; it has {list(routes.editions)}",
            )
        raise Refusal(Why.UNAVAILABLE, f"model '{self.name}' is not loaded: {self._why}")

    def _come_up(self, edition: Edition) -> None:
        """Wait until an edition's rows are not behind those of the live one, if both are of one history."""
        until = monotonic() + _COME_UP_S
        while monotonic() < until:
            live = self._routes.editions.get(self._routes.live)
            if live is None:
                return
            shown, fresh = live.target.scorer.stamp, edition.target.scorer.stamp
            if shown.history != fresh.history or shown.rows <= fresh.rows:
                return
            sleep(_LOOK_S)

    def _put(self, **changed: object) -> None:
        fresh = replace(self._routes, **changed)  # type: ignore[arg-type]
        self._routes = replace(fresh, editions=MappingProxyType(dict(fresh.editions)))

    def _needed(self) -> set[str]:
        routes = self._routes
        found = {routes.live} if routes.live else set()
        found |= {routes.trial.version} if routes.trial is not None else set()
        return found | ({routes.shadow.version} if routes.shadow is not None else set())

    def _tidy(self, versions: list[str]) -> None:
        """Stop those of ``versions`` that have no part any more; let go of them and of what is kept too long."""
        kept = self._former[max(0, len(self._former) - self._keep) :] if self._keep else []
        out = [each for each in self._former if each not in kept]
        self._former = kept
        idle = [each for each in dict.fromkeys([*versions, *out]) if each and each not in self._needed()]
        self._let_go([each for each in idle if each not in kept])
        for version in idle:
            if version in kept:
                self._stop(version, self._routes.editions[version])

    def _let_go(self, versions: list[str]) -> None:
        leaving = {version: self._routes.editions[version] for version in versions}
        self._put(
            editions={name: each for name, each in self._routes.editions.items() if name not in leaving}
        )
        while leaving:
            version, edition = leaving.popitem()
            self._stop(version, edition)
            self._leaving.add(version, edition.target.scorer)

    def _stop(self, version: str, edition: Edition) -> None:
        try:
            edition.stop()
        except Exception:
            _LOG.exception("version '%s' of model '%s' did not stop cleanly", version, self.name)

    def _tell(self, version: str, reason: str) -> None:
        self._told.pop(version, None)
        self._told[version] = VersionStatus(version=version, state=State.UNAVAILABLE, reason=reason)
        for oldest in [each for each in self._told if self._told[each].state is not State.LOADING][:-_TOLD]:
            del self._told[oldest]


def _trouble(edition: Edition, beside: str) -> str:
    pages = edition.target.pages
    value = pages.value if isinstance(pages, Pages) else None
    return "; ".join(
        filter(None, (edition.trouble, value.trouble if isinstance(value, LiveValueModel) else None, beside))
    )


def _read_alike(first: Columns | None, second: Columns | None) -> bool:
    """Whether a request that is read for one may be given to the other."""
    if first is None or second is None:
        return first is second
    return (first.context, first.candidates, first.item, first.time, first.optional) == (
        second.context,
        second.candidates,
        second.item,
        second.time,
        second.optional,
    )
