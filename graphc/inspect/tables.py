"""Tables for people: drawn by rich on a terminal, plain columns everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.planning.text import format_table


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> None:
    """Print rows under a head; the first `numbers` columns are flush right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        print(format_table([head, *rows], numbers))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column < numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # names are no markup
    console.print(table)
