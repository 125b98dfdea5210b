"""A table as text, as every way of showing one takes it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class View:
    """One table as text: the first two columns name the row, the others are right-aligned.

    Attributes:
        title: stands above it.
        header: names of the columns.
        rows: a cell a column.
        caption: stands below it.
        in_terminal: whether a terminal shows it too.
        wrapping: columns beside the first whose cells may take two lines; numbers never do.
        dispensable: columns that a narrow terminal misses least.
        stacked: whether a terminal sets the words of a column's name below each other.
        bold: cells that stand out, by row and column.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    in_terminal: bool = True
    wrapping: tuple[str, ...] = ()
    dispensable: tuple[str, ...] = ()
    stacked: bool = False
    bold: frozenset[tuple[int, int]] = frozenset()

    def narrowed(self) -> "View":
        """The view less its dispensable columns, which the caption names."""
        dropped = [name for name in self.header if name in self.dispensable]
        if not dropped:
            return self
        keep = [i for i, name in enumerate(self.header) if name not in dropped]
        header, *rows = (tuple(row[i] for i in keep) for row in (self.header, *self.rows))
        where = f"{', '.join(dropped)}: on a wider terminal or in a file."
        bold = frozenset((row, keep.index(column)) for row, column in self.bold if column in keep)
        return replace(self, header=header, rows=tuple(rows), caption=f"{self.caption} {where}", bold=bold)
