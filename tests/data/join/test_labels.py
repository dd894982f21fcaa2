import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from join_events import spec_of

from larix.data.join.labels import Labels
from larix.data.join.spec import Clicked, Toggle, Total

SPEC = spec_of(labels={"any": Clicked("click"), "liked": Toggle("like", "unlike"), "sum": Total("watch")})
ACTIONS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.2, 7.0, 1e9]))
)


@given(ACTIONS)
def test_labels_are_those_of_actions_one_by_one_and_so_are_changes(actions):
    labels, one_by_one = Labels(SPEC), np.zeros((5, 3))
    changes, after = [], []
    for sample, kind, value in actions:
        before = one_by_one[sample].copy()
        if kind == 0:
            one_by_one[sample, 0] = 1
        elif kind == 3:
            one_by_one[sample, 2] += value
        else:
            one_by_one[sample, 1] = kind == 1
        changes.append(one_by_one[sample] != before)
        after.append(one_by_one[sample].copy())
    samples, kinds, values = (np.array([each[n] for each in actions]) for n in range(3))
    arguments = (samples.astype(np.int32), kinds.astype(np.int8), values.astype(float))
    taken, changed = np.zeros((5, 3)), np.zeros((5, 3))
    labels.take(taken, *arguments)
    which, to = labels.changes(changed, *arguments)
    assert taken.tolist() == changed.tolist() == one_by_one.tolist()
    assert which.tolist() == [each.tolist() for each in changes]
    assert to.tolist() == [each.tolist() for each in after]
