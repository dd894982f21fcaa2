"""Which optimizer and initialiser each of a sample's tables gets. Knows nothing of training."""

from collections.abc import Mapping

from larix.embedding import TableSpec
from larix.embedding.init import Init
from larix.embedding.optimizer import Optimizer
from larix.errors import ConfigError
from larix.features import Sample

Rows = Optimizer | Mapping[str, TableSpec]


def specs_of(sample: Sample, rows: Rows, init: Init) -> list[TableSpec]:
    """The specs of the sample's tables: all with one optimizer and ``init``, or those given by name.

    Tables that are not named get TableSpec's optimizer and ``init``. ConfigError for a table that the
    sample does not have, or of another dim.
    """
    if not isinstance(rows, Mapping):
        return [
            TableSpec(name=name, dim=dim, optimizer=rows, init=init) for name, dim in sample.tables.items()
        ]
    for name, spec in rows.items():
        if name not in sample.tables:
            raise ConfigError(f"rows names table '{name}'; the sample has {sorted(sample.tables)}")
        if (spec.name, spec.dim) != (name, sample.tables[name]):
            raise ConfigError(
                f"rows['{name}'] is for table '{spec.name}' of dim {spec.dim}; the sample has '{name}' with "
                f"dim {sample.tables[name]}"
            )
    return [rows.get(name, TableSpec(name=name, dim=dim, init=init)) for name, dim in sample.tables.items()]
