"""What actions make of a sample's labels, for many samples at once. Knows nothing of how actions and samples met.

The state of a label is one float64: what it would be if no more came.
"""

import numpy as np
from numpy.typing import NDArray

from larix.data.join.spec import Clicked, JoinSpec, Total

Floats = NDArray[np.float64]
Places = NDArray[np.int64] | NDArray[np.int32]
Mask = NDArray[np.bool_]


class Labels:
    """The labels of a spec. Kinds of actions are told by their number in the declaration."""

    def __init__(self, spec: JoinSpec) -> None:
        numbers = {action.name: number for number, action in enumerate(spec.actions)}
        self.names = [*spec.labels]
        self._forms = [*spec.labels.values()]
        # Of each form its one kind twice, or what switches on and what switches off.
        self._kinds = [
            (numbers[form.action], numbers[form.action])
            if isinstance(form, Clicked | Total)
            else (numbers[form.on], numbers[form.off])
            for form in self._forms
        ]

    def take(self, states: Floats, samples: Places, kinds: NDArray[np.int8], values: Floats) -> None:
        """Let actions act, in order.

        Args:
            states: (samples, labels); changed.
            samples: the row of the sample of each action.
            kinds: of each action.
            values: of each action; finite.
        """
        masks = {kind: kinds == kind for some in self._kinds for kind in some}
        for number, (form, of) in enumerate(zip(self._forms, self._kinds, strict=True)):
            state = states[:, number]
            if isinstance(form, Clicked):
                state[samples[masks[of[0]]]] = 1.0
            elif isinstance(form, Total):
                mask = masks[of[0]]
                np.add.at(state, samples[mask], values[mask])
            else:  # of several for one sample the last stays
                mask = masks[of[0]] | masks[of[1]]
                state[samples[mask]] = kinds[mask] == of[0]

    def changes(
        self, states: Floats, samples: Places, kinds: NDArray[np.int8], values: Floats
    ) -> tuple[Mask, Floats]:
        """`take`, and which labels each action changed and to what: both (actions, labels)."""
        shape = (len(samples), len(self.names))
        changed, after = np.zeros(shape, bool), np.zeros(shape)
        # The first action of every sample, then the second of every sample that has one, ...
        by_sample = np.argsort(samples, kind="stable")
        ordered = samples[by_sample]
        begins = (
            np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else ordered
        )
        counts = np.diff(np.append(begins, len(ordered)))
        turn = 0
        while len(begins):
            actions = by_sample[begins + turn]
            touched = samples[actions]
            before = states[touched]
            self.take(states, touched, kinds[actions], values[actions])
            after[actions] = states[touched]
            changed[actions] = after[actions] != before
            turn += 1
            more = counts > turn
            begins, counts = begins[more], counts[more]
        return changed, after
