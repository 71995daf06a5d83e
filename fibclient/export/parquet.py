"""Parquet files of numbers: a column `n`, and the digits of F(n) in a column `value`.

Values are strings: Parquet's decimals end at 38 digits, which F(184) exceeds, and readers sort and
convert digits more easily than bytes. Row groups are bounded by the size of their digits, so
neither the writer nor a reader holds more than one.
"""

from collections.abc import Iterator
from typing import Any

from fibclient.cancellation import Cancellation
from fibclient.client import FibClient
from fibclient.export.optional import optional
from fibclient.export.plan import PlannedPart

__all__ = ["require_parquet", "write_parquet"]

ROW_GROUP_BYTES = 1024 * 1024
"""Largest size of the digits in a row group; a single number may be larger. Arrow takes about 15
times as much to write one."""


def require_parquet() -> Any:
    """Return the module that writes Parquet.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    return optional("pyarrow.parquet", "parquet", "Parquet")


def write_parquet(
    file: Any, part: PlannedPart, client: FibClient, cancellation: Cancellation | None
) -> Iterator[int]:
    """Write the numbers of a part.

    Args:
        file: File to write to.
        part: The part.
        client: Client to request the numbers with.
        cancellation: Ends the requests when it is cancelled.

    Yields:
        The number of bytes requested for each row group, after it is written.
    """
    parquet, arrow = require_parquet(), optional("pyarrow", "parquet", "Parquet")
    schema = arrow.schema([("n", arrow.int64()), ("value", arrow.string())])
    # Arrow's own pools keep what was freed.
    pool = arrow.system_memory_pool()
    # The values are all different, so a dictionary of them would only take memory.
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": ["n"]}
    options["memory_pool"] = pool
    with parquet.ParquetWriter(file, schema, **options) as writer:
        start = part.start
        while start < part.stop:
            within = part.slice.format.stop_within(start, ROW_GROUP_BYTES)
            stop = min(part.stop, max(start + 1, within))
            text = client.read(start, stop, "text", cancellation=cancellation)
            columns = [
                arrow.array(range(start, stop), arrow.int64(), memory_pool=pool),
                arrow.array(text.split(), arrow.string(), memory_pool=pool),
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            yield len(text)
            start = stop
