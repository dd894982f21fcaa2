"""People to ask for a page for, out of a bundle's logged samples: as they were when they were logged. Knows no protocol."""

from collections.abc import Sequence
from typing import Any

from larix.serve.http.examples import Action, Example
from larix.serve.signature import Signature
from larix.serve.warm import Warm


class LoggedPeople:
    """Up to ``most`` users of the samples, each with up to ``items`` different items of all the samples as candidates.

    ``actions``: what can be done with an item.
    """

    def __init__(
        self,
        model: str,
        signature: Signature,
        warm: Warm,
        *,
        most: int = 12,
        items: int = 200,
        actions: Sequence[Action] = (),
    ) -> None:
        self._model, self._actions = model, list(actions)
        self._people: dict[str, dict[str, Any]] = {}
        rows: dict[Any, tuple[Any, ...]] = {}
        for context, candidates in warm.requests(signature):
            name = str(context[signature.user]) if signature.user is not None else str(len(self._people) + 1)
            if len(self._people) < most:
                self._people.setdefault(name, context)
            for row in zip(*candidates.values(), strict=True):
                item = row[signature.candidates.names.index(signature.item)]
                if len(rows) < items:
                    rows.setdefault(item, row)
        columns = zip(*rows.values(), strict=True)
        names = signature.candidates.names
        self._candidates = {name: list(column) for name, column in zip(names, columns, strict=False)}
        self._user = signature.user

    def people(self) -> Sequence[tuple[str, str]]:
        """See ``Examples``."""
        what = self._user or "request"
        return [(name, f"{what} {name}") for name in self._people]

    def example(self, name: str) -> Example | None:
        """See ``Examples``."""
        context = self._people.get(name)
        if context is None:
            return None
        user = {self._user: context[self._user]} if self._user is not None else {}
        return Example(
            name=name,
            title=name,
            model=self._model,
            user=user,
            context={column: value for column, value in context.items() if column not in user},
            candidates=self._candidates,
            actions=self._actions,
        )
