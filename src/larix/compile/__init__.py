"""From a trained network to what serving runs: captured, rewritten by rules, compiled ahead of time."""

__all__: list[str] = []
