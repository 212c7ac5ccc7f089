"""Rows of an hour as a Parquet file.

Source: arrow.apache.org/docs/python/parquet.html.
"""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from tether.billing.hour import COUNTS, Row

_SCHEMA = pa.schema(
    [
        ("hour", pa.timestamp("s", tz="UTC")),
        ("region", pa.string()),
        ("tenant", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("price_version", pa.int64()),
        *((count, pa.int64()) for count in COUNTS),
    ]
)


def to_parquet(rows: Sequence[Row]) -> bytes:
    """Write rows as Parquet; `hour` is a timestamp, counts are 64-bit integers."""
    columns = {field.name: [row[field.name] for row in rows] for field in _SCHEMA}
    text = pa.array([str(hour).removesuffix("Z") for hour in columns.pop("hour")]).cast(pa.timestamp("s"))
    hour = pa.compute.assume_timezone(text, "UTC")
    arrays = [hour, *(pa.array(columns[field.name], field.type) for field in list(_SCHEMA)[1:])]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), sink, compression="snappy")
    return sink.getvalue()
