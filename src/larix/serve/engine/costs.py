"""What stages cost, as measured: seconds by rows, learnt from every request. Knows nothing of what the work is."""

from collections.abc import Sequence

from larix.serve.scorer import Scorer

_KNOWN = 1 << 14  # costs of runs that are remembered
_KEPT = 0.98  # of what is known, with each new measurement: the last fifty or so count


class Line:
    """Seconds as a straight line of rows, by least squares over recent measurements. One thread at a time."""

    def __init__(self) -> None:
        self._weight = self._rows = self._squares = self._seconds = self._products = 0.0
        self._base = self._slope = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Learn that ``rows`` took so long."""
        self._weight = self._weight * _KEPT + 1
        self._rows = self._rows * _KEPT + rows
        self._squares = self._squares * _KEPT + rows * rows
        self._seconds = self._seconds * _KEPT + seconds
        self._products = self._products * _KEPT + rows * seconds
        mean, level = self._rows / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean * mean
        if mean == 0:
            self._base, self._slope = level, 0.0
            return
        if spread <= 1e-3 * mean * mean:  # all alike: so much for as many, in proportion for others
            self._base, self._slope = 0.0, level / mean
            return
        slope = (self._products / self._weight - mean * level) / spread
        # Neither rows nor a request cost less than nothing; the line still passes through the mean.
        self._slope = min(max(slope, 0.0), level / mean)
        self._base = level - self._slope * mean

    def __call__(self, rows: int) -> float:
        """What ``rows`` are expected to take; 0 as long as nothing is known."""
        return self._base + self._slope * rows


class Costs:
    """Of one version of a model, what the Scorer does not tell itself.

    ``sparse``: the sparse stage of whole requests; ``candidates``: of those whose user's side is kept; ``user``: that side alone.
    ``page``: making the page.
    """

    def __init__(self) -> None:
        self.sparse, self.candidates, self.user, self.page = Line(), Line(), Line(), Line()


class Runs:
    """Of the dense stage: what the Scorer has measured, remembered. One thread at a time."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.largest = scorer.buckets[-1]
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, rows: Sequence[int]) -> float:
        """See ``Scorer.seconds``."""
        key = tuple(rows)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[key] = self.scorer.seconds(key)
        return found

    def alone(self, rows: int) -> float:
        """Seconds for a request of ``rows`` with a stream to itself, in several runs if it needs them."""
        if 0 < rows <= self.largest:
            return self((rows,))
        whole, rest = divmod(rows, self.largest)
        return (whole * self((self.largest,)) if whole else 0.0) + (self((rest,)) if rest else 0.0)
