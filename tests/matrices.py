"""How many cells of each matrix passed in a run, over all its processes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Tests of which each is a cell.

    Attributes:
        prefix: how the ids of the cells begin.
        cells: int, how many there are in quick and slow runs together.
    """

    prefix: str
    cells: int


MATRICES = {
    "export": Matrix("tests/export/test_matrix.py::test_export[", 16),
    "precision": Matrix("tests/precision/test_matrix.py::test_cell[", 42),
}


def lines(stats):
    """A sentence on each matrix of which anything ran.

    Args:
        stats: dict from outcomes to reports, as pytest's terminal reporter has it. The workers of a run
            on several processes send theirs to the one that prints.
    """

    def cells(matrix, *outcomes):
        reports = (report for outcome in outcomes for report in stats.get(outcome, ()))
        return {report.nodeid for report in reports if getattr(report, "nodeid", "").startswith(matrix.prefix)}

    for name, matrix in MATRICES.items():
        failed = cells(matrix, "failed", "error")
        passed = cells(matrix, "passed") - failed
        skipped = cells(matrix, "skipped")
        if passed or failed or skipped:
            others = "".join(
                f", {len(some)} {what}" for some, what in ((failed, "failed"), (skipped, "skipped")) if some
            )
            yield f"{name} matrix: {len(passed)} of {matrix.cells} cells passed{others}"


def pytest_terminal_summary(terminalreporter):
    """Prints the counts at the end of a run."""
    for line in lines(terminalreporter.stats):
        terminalreporter.write_line(line)
