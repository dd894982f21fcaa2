"""Which optimizer and initialiser each of a sample's tables gets. Knows nothing of training."""

from collections.abc import Mapping
from typing import Any

from larix.embedding import TableSpec
from larix.embedding.admission import Admission
from larix.embedding.eviction import Eviction
from larix.embedding.init import Init
from larix.embedding.optimizer import Optimizer
from larix.errors import ConfigError
from larix.features import Sample

Rows = Optimizer | Mapping[str, TableSpec]


def specs_of(
    sample: Sample,
    rows: Rows,
    init: Init,
    admission: Admission | None = None,
    eviction: Eviction | None = None,
) -> list[TableSpec]:
    """The specs of the sample's tables: all with one optimizer, ``init`` and policies, or those given by name.

    Tables that are not named get TableSpec's optimizer, ``init`` and the policies. ConfigError for a table that the
    sample does not have, or of another dim.
    """
    common: dict[str, Any] = {"init": init, "admission": admission, "eviction": eviction}
    if not isinstance(rows, Mapping):
        return [
            TableSpec(name=name, dim=dim, optimizer=rows, **common) for name, dim in sample.tables.items()
        ]
    for name, spec in rows.items():
        if name not in sample.tables:
            raise ConfigError(f"rows names table '{name}'; the sample has {sorted(sample.tables)}")
        if (spec.name, spec.dim) != (name, sample.tables[name]):
            raise ConfigError(
                f"rows['{name}'] is for table '{spec.name}' of dim {spec.dim}; the sample has '{name}' with "
                f"dim {sample.tables[name]}"
            )
    return [rows.get(name, TableSpec(name=name, dim=dim, **common)) for name, dim in sample.tables.items()]
