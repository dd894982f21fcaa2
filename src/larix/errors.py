"""What larix raises when the user can act on it; our own bugs are assertions. Knows nothing of any other room."""


class LarixError(Exception):
    """A mistake or a fault the user can act on. Its text names the thing, what was got, what was expected, the way out."""


class ConfigError(LarixError):
    """A setting, a declaration or an argument is wrong."""


class DataError(LarixError):
    """A file, a column or a value is not what was declared."""


class StorageError(LarixError):
    """A file could not be written or read back whole: damaged, truncated, no space, wrong checksum."""


class NumericsError(LarixError):
    """Training produced a value that is not a number."""
