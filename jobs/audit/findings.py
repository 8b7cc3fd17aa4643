"""What an audit found: cells that agree, cells that differ, cells of which nothing can be said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.audit.cells import ASKED, KINDS, TOTAL, Asked, Cell
from jobs.audit.views import Recount

OK, MISMATCH = 0, 3
_SHOWN_CELLS, _SHOWN_FILES, _SHOWN_DAYS = 50, 5, 10


@dataclass(frozen=True)
class Findings:
    """The published and the recounted numbers of the chosen cells."""

    publication: dict[str, Any]
    seed: int
    cells: list[Cell]
    views: Recount
    purchases: Counter[Cell]
    asked: Asked
    """What the cells are of; none: they were chosen by ``seed``."""

    def differs(self, cell: Cell) -> bool:
        """Whether a number that can be told is another one than published."""
        views_differ = cell.partition not in self.views.unchecked and self.views.views[cell] != cell.views
        return views_differ or self.purchases[cell] != cell.purchases

    @property
    def checked(self) -> list[Cell]:
        """The cells of which both numbers can be told."""
        return [cell for cell in self.cells if cell.partition not in self.views.unchecked]

    @property
    def mismatches(self) -> list[Cell]:
        """The cells that differ."""
        return [cell for cell in self.cells if self.differs(cell)]

    @property
    def exit_code(self) -> int:
        """0, or 3 when a cell or a file differs."""
        return MISMATCH if self.mismatches or self.views.wrong else OK

    def show(self, console: Console) -> None:
        """Prints the table, then what differs and what could not be checked."""
        days = sorted({cell.start.date() for cell in self.cells})
        more = f" and {len(days) - _SHOWN_DAYS:,} more days" if len(days) > _SHOWN_DAYS else ""
        console.print(
            f"audit of publication {self.publication['publication']}, {', '.join(map(str, days[:_SHOWN_DAYS]))}{more}; "
            f"{f'every cell of {self.asked}' if self.asked else f'--seed {self.seed}'}: {len(self.cells):,} cells",
            highlight=False,
            soft_wrap=True,
        )
        console.print(self._summary())
        if self.mismatches:
            console.print(self._differences())
            if len(self.mismatches) > _SHOWN_CELLS:
                console.print(f"and {len(self.mismatches) - _SHOWN_CELLS:,} more")
        lines = [f"mismatch: {text}" for text in self.views.wrong]
        reasons = sorted({reason for reasons in self.views.unchecked.values() for reason in reasons})
        lines += [f"not checkable: {reason}" for reason in reasons[:_SHOWN_CELLS]]
        if len(reasons) > _SHOWN_CELLS:
            lines.append(f"not checkable: {len(reasons) - _SHOWN_CELLS:,} more files")
        lines += [f"nothing is published of {product} on these days" for product in self._unknown()]
        if any(self.purchases[cell] != cell.purchases for cell in self.mismatches):
            lines.append(
                f"purchases differ: orders that changed since {self.publication['published_at']:%Y-%m-%d %H:%M} UTC do that too; "
                f"run ./spark-submit.sh daily and audit again in the same way{'' if self.asked else ' (--seed)'}"
            )
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _unknown(self) -> list[str]:
        """Products that were asked for and have neither a view nor a purchase: a misspelt one is the same everywhere."""
        known = {cell.product for cell in self.cells if cell.views or cell.purchases}
        return [product for product in self.asked.products if product not in known]

    def _summary(self) -> Grid:
        grid = Grid("cells", "checked", "same", "different", "not checkable")
        for kind in (*((ASKED,) if self.asked else KINDS), TOTAL, None):
            cells = [cell for cell in self.cells if kind in (None, cell.kind)]
            checked = [cell for cell in cells if cell.partition not in self.views.unchecked]
            different = sum(map(self.differs, cells))
            same = sum(not self.differs(cell) for cell in checked)
            row = (len(checked), same, different, len(cells) - len(checked))
            grid.add_row(kind or "all", *(f"{number:,}" for number in row), end_section=kind == TOTAL)
        return grid

    def _differences(self) -> Grid:
        grid = Grid(
            "bucket (UTC)", "table", "platform", "product", "published", "counted again", "files that can hold it"
        )
        for cell in self.mismatches[:_SHOWN_CELLS]:
            unknown = cell.partition in self.views.unchecked
            views = "?" if unknown else f"{self.views.views[cell]:,}"
            grid.add_row(
                f"{cell.start:%Y-%m-%d %H:%M}, {cell.minutes} min",
                cell.table,
                cell.platform,
                cell.product or TOTAL,
                f"{cell.views:,} views, {cell.purchases:,} purchases",
                f"{views} views, {self.purchases[cell]:,} purchases",
                self._files(cell),
            )
        return grid

    def _files(self, cell: Cell) -> str:
        names = [file.file.path for file in self.views.files if file.can_hold(cell)]
        more = f" and {len(names) - _SHOWN_FILES:,} more" if len(names) > _SHOWN_FILES else ""
        return "\n".join(names[:_SHOWN_FILES]) + more if names else "none"
