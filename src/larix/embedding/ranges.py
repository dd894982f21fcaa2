"""Whether a setting is a number that rows can be computed with: each function raises a sentence or none."""

from larix.errors import ConfigError

# Rows are computed in float32: settings keep away from the ends of its range, so that none rounds to zero or infinity.
SMALLEST, LARGEST = 1e-30, 1e30


def positive(owner: object, **values: float) -> None:
    """Check numbers that must be above zero."""
    bounded(owner, SMALLEST, **values)


def bounded(owner: object, low: float, **values: float) -> None:
    """Check numbers that must not be below ``low``."""
    for name, value in values.items():
        if not low <= value <= LARGEST:
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value}; it must be between {low} and {LARGEST}"
            )


def fraction(owner: object, **values: float) -> None:
    """Check numbers that must be in ``[0, 1)``."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}; it must be in [0, 1)")


def count(owner: object, **values: int) -> None:
    """Check whole numbers that must be at least 1; beyond 2**53 they would not be exact in float64."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**53:
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value}; it must be a whole number between 1 and 2**53"
            )


def whole(owner: object, below: int, **values: int) -> None:
    """Check whole numbers from 0 to below ``below``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value!r:.50}; it must be a whole number from 0 to {below - 1}"
            )
