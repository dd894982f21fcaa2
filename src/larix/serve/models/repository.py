"""The models of a process by name, each with the folder that its bundles come to: looked at, loaded, swapped in.

Knows which folders are bundles; knows nothing of what is in them.
"""

import hashlib
import itertools
import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from larix.embedding.polling import Polling
from larix.errors import ConfigError, LarixError
from larix.features import Task
from larix.serve.engine import Target
from larix.serve.models.edition import Loader
from larix.serve.models.model import Model
from larix.serve.models.plan import FILE, Plan, PlanFile
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.service import Columns, ModelStatus

_LOG = logging.getLogger(__name__)
_MANIFEST = "manifest.json"


class Found(NamedTuple):
    """A bundle's folder, and the digest of its manifest: another one is another bundle, whatever clocks say."""

    path: Path
    digest: str


class Repository:
    """``places``: by model, a bundle's folder or a folder of them, of which the last by name counts (numbers by value).

    A bundle that comes to a place, or takes another's, is loaded beside the live version and takes over when it is warm. One that
    cannot be loaded is told of as UNAVAILABLE and changes nothing else; it is tried again when its manifest changes, or by
    `load`, and so is one that was gone back from. Bundles are loaded one at a time; ``turn``: by one process at a time. ``keep``:
    see Model. A folder of bundles may say otherwise who answers whom, see ``plan``; it is looked at as often as for new bundles.
    """

    def __init__(
        self,
        places: Mapping[str, str | Path],
        load: Loader,
        *,
        keep: int = 1,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        if not places:
            raise ConfigError("there is no model to serve; name one and the folder of its bundles")
        self._places = {name: Path(path) for name, path in places.items()}
        self._load = load
        self._models = {name: Model(name, keep=keep) for name in places}
        self._versions: dict[str, dict[str, Found]] = {name: {} for name in places}  # tried, by version
        self._failed: dict[str, dict[Found, str]] = {name: {} for name in places}  # and why
        self._plans = {name: PlanFile(path) for name, path in self._places.items()}
        self._planned = dict.fromkeys(places, Plan())  # what was carried out last
        self._unloaded: set[str] = set()
        self._turn = threading.RLock()  # whoever loads; no request waits for it
        self._among_processes = turn or nullcontext()
        self._polling = Polling(self.poll, "bundles")

    def model(self, name: str = "") -> Model:
        """A model; without a name the only one there is. Refusal UNKNOWN."""
        if not name and len(self._models) == 1:
            return next(iter(self._models.values()))
        if name not in self._models:
            what = f"there is no model '{name:.80}'" if name else "the request names no model"
            raise Refusal(Why.UNKNOWN, f"{what}; there are {sorted(self._models)}")
        return self._models[name]

    def route(self, request: Request) -> Target:
        """Who answers; see ``Model.route``."""
        return self.model(request.model).route(request)

    def answered(self, request: Request, answer: Answer) -> None:
        """Be told of an answer; see ``Model.answered``."""
        self.model(answer.stamp.model).answered(request, answer)  # a session's request names none

    def shadowed(self, model: str) -> bool:
        """Whether a version is in a model's shadow. Refusal UNKNOWN."""
        return self.model(model).in_shadow is not None

    @property
    def names(self) -> Sequence[str]:
        """Of every model."""
        return sorted(self._models)

    def models(self) -> Sequence[ModelStatus]:
        """Every model, by name."""
        return [self._models[name].status for name in sorted(self._models)]

    def signature(self, model: str = "", version: str = "") -> Columns:
        """How requests are read. Refusal as ``Model.route``."""
        return self.model(model).edition(version).columns

    def tasks(self, model: str = "", version: str = "") -> tuple[Task, ...]:
        """What is predicted. Refusal as ``Model.route``."""
        return self.model(model).edition(version).target.scorer.tasks

    @property
    def ready(self) -> bool:
        """Whether every model that was not unloaded answers."""
        return all(model.live for name, model in self._models.items() if name not in self._unloaded)

    def load(self, name: str) -> None:
        """Load the newest bundle of a model's place, also if it failed or was rolled back, and have it answer.

        Refusal: UNKNOWN; UNAVAILABLE if it cannot be loaded: what answered before goes on.
        """
        model = self.model(name)
        with self._turn:
            self._unloaded.discard(model.name)
            apart = self._planned[model.name].tried_out
            self._versions[model.name] = {
                version: found
                for version, found in self._versions[model.name].items()
                if version == model.live or (found.path.name in apart and version in model.versions)
            }
            self._failed[model.name].clear()
            problem = self._renew(model)
            if problem or not model.live:
                raise Refusal(
                    Why.UNAVAILABLE,
                    f"model '{model.name}' cannot be loaded: "
                    f"{problem or f'there is no bundle in {str(self._places[model.name])!r}'}",
                )

    def unload(self, name: str) -> None:
        """Let go of a model until it is loaded again: what it began is answered. Refusal UNKNOWN."""
        model = self.model(name)
        with self._turn:
            self._unloaded.add(model.name)
            model.unload()

    def poll(self) -> None:
        """Look at all places, load what is new, and free what has left."""
        for name, model in self._models.items():
            with self._turn:
                if name not in self._unloaded:
                    with self._among_processes:
                        self._renew(model)
                model.mind()

    def start(self, every: float = 2.0) -> None:
        """Look now and every so many seconds on a thread of its own, until `stop`."""
        self._polling.start(every, on_error=lambda error: _LOG.error("looking for bundles: %s", error))

    def stop(self) -> None:
        """End the thread; models stay as they are."""
        self._polling.stop()

    def close(self) -> None:
        """End the thread and let go of all models."""
        self.stop()
        for name in self._models:
            self.unload(name)

    def _renew(self, model: Model) -> str:
        """Have bundles do what is planned of those that are there; why the one that should be live is not."""
        there, name = bundles(self._places[model.name]), model.name
        self._versions[name] = {
            version: each for version, each in self._versions[name].items() if each in there
        }
        self._failed[name] = {each: why for each, why in self._failed[name].items() if each in there}
        plan, unread = self._plans[name].look()
        if plan is None:
            return unread
        before, self._planned[name] = self._planned[name], plan
        if plan != before:
            self._failed[name].clear()
        problem = self._renew_live(model, there, plan, before)
        troubles = [unread, problem if plan.live else "", *self._try_out(model, there, plan, before)]
        model.trouble = "; ".join(filter(None, troubles))
        return problem

    def _renew_live(self, model: Model, there: Sequence[Found], plan: Plan, before: Plan) -> str:
        """Have the planned bundle answer, or the newest there is, or the one before it if that fails, back to the live one."""
        if plan.live:
            return self._bring(model, there, plan.live, model.promote, model.live)
        problem = ""
        for found in there:
            known = self._known(model, found)
            if known is not None and known == model.live:
                break
            if found.path.name in plan.tried_out or (known is not None and plan == before):
                continue  # it has its part, it failed, or somebody went back from it
            reason = self._given(model, found, model.promote)
            if not reason:
                break
            problem = problem or reason
        return problem

    def _try_out(self, model: Model, there: Sequence[Found], plan: Plan, before: Plan) -> list[str]:
        """Have versions on trial and in the shadow as planned; what keeps them from it."""
        troubles, trial, shadow = [], plan.trial, plan.shadow
        if trial is not None:
            now = model.trial
            has = "" if now is None or (now.share, now.salt) != (trial.share, trial.salt) else now.version
            begin = partial(model.try_on, share=trial.share, salt=trial.salt)
            troubles.append(self._bring(model, there, trial.version, begin, has))
        elif before.trial is not None:
            model.end_trial()
        if shadow is not None:
            version, share = model.in_shadow or ("", shadow.share)
            has = version if share == shadow.share else ""
            cast = partial(model.shadow, share=shadow.share)
            troubles.append(self._bring(model, there, shadow.version, cast, has))
        elif before.shadow is not None:
            model.end_shadow()
        return troubles

    def _bring(
        self, model: Model, there: Sequence[Found], name: str, begin: Callable[[str], None], has: str
    ) -> str:
        """Give the bundle in the folder ``name`` its part, which is that of the version ``has`` now; why not, "" if it has it."""
        found = next((each for each in there if each.path.name == name), None)
        if found is None:
            return f"{FILE} names '{name}', which is no bundle there"
        if has and self._known(model, found) == has:
            return ""
        return self._given(model, found, begin)

    def _known(self, model: Model, found: Found) -> str | None:
        """The version that a bundle was tried as."""
        tried = self._versions[model.name]
        return next((version for version, each in tried.items() if each == found), None)

    def _given(self, model: Model, found: Found, begin: Callable[[str], None]) -> str:
        """Load a bundle unless it is in memory, and give it its part; why that failed, "" if it did not."""
        if found in self._failed[model.name]:
            return self._failed[model.name][found]
        tried, version = self._versions[model.name], self._known(model, found)
        there = version is not None and version in model.versions
        try:
            if version is None or not there:
                tried.pop(version or "", None)
                version = _name(found, {*tried, *model.versions})
                tried[version] = found
                model.loading(version)
                beside = any(each.live for each in self._models.values())
                loaded = self._load(found.path, model=model.name, version=version, beside=beside)
                model.add(version, loaded)
            begin(version)
        except Exception as error:  # whatever is wrong with a bundle, the models that are there go on
            ours = isinstance(error, LarixError)
            reason = str(error) if ours else f"{type(error).__name__}: {error}"
            _LOG.error(
                "version '%s' of model '%s' cannot be loaded: %s",
                version,
                model.name,
                reason,
                exc_info=None if ours else error,
            )
            self._failed[model.name][found] = reason
            if not there and version in model.versions:
                model.drop(version)
            model.failed(str(version), reason)
            return reason
        return ""


def bundles(place: Path) -> list[Found]:
    """The bundles at a place, the newest first; none if there is none yet."""
    own = _found(place)
    if own is not None:
        return [own]
    try:
        inside = [each for each in place.iterdir() if not each.name.startswith(".")]
    except OSError:
        return []
    inside.sort(key=lambda path: _by_number(path.name), reverse=True)
    return [found for path in inside if (found := _found(path)) is not None]


def _found(path: Path) -> Found | None:
    try:
        content = (path / _MANIFEST).read_bytes()
    except OSError:
        return None
    return Found(path, hashlib.sha256(content).hexdigest())


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """A key by which step-9 comes before step-10."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def _name(found: Found, taken: Collection[str]) -> str:
    """The version that a bundle becomes: its folder's name, with a part of its digest if another has that."""
    name = found.path.resolve().name
    digits = itertools.count(8)
    while name in taken:
        name = f"{found.path.resolve().name}-{found.digest[: next(digits)]}"
    return name
