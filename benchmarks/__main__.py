"""`make bench`: every figure as a table, and as one JSON line each.

`python -m benchmarks decode start_up` runs only those named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from benchmarks import decode, end_to_end, engine, kafka, partitions, start_up
from benchmarks.figures import Figure

BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "decode": decode.run,
    "engine": engine.run,
    "partitions": partitions.run,
    "start_up": start_up.run,
    "end_to_end": end_to_end.run,
    "kafka": kafka.run,
}


def main() -> None:
    """Run the benchmarks that the command line names, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    table = Table("figure", "value", "unit")
    figures: list[Figure] = []
    for name in names:
        for figure in BENCHMARKS[name]():
            figures.append(figure)
            print(figure.json(), flush=True)
            table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit)
    Console().print(table)


if __name__ == "__main__":
    main()
