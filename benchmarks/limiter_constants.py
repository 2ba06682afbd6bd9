"""The limiter's tuned constants: what half and twice of each one would cost.

    .venv/bin/python -m benchmarks limiter_constants

The nine simulated servers of the limiter's tests (1,500 virtual seconds each) and a minute on a
queueing and on a refusing endpoint of 64 slots, one seed: the mean and the worst share of what the
best fixed limit gets. Time is virtual, so a busy machine gives the same figures. What a constant
means stands beside it in `_limits/`.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.load import ROOT
from benchmarks.tables import note, print_table, size

__all__ = ["Constant", "constants", "main"]

MODULES = ("limiter", "search", "refusals", "quotas", "availability")
_ABOVE = re.compile(r"# (?P<unit>[^;]+); (?P<meaning>.+)")


@dataclass(frozen=True, slots=True)
class Constant:
    """One tuned number, as the source has it."""

    module: str
    name: str
    value: str
    unit: str
    meaning: str


def constants() -> Iterator[Constant]:
    """All of them, in the order of the source."""
    for module in MODULES:
        path = ROOT / "src" / "distilabel_endpoints" / "_limits" / f"{module}.py"
        yield from _constants_of(module, path)


def _constants_of(module: str, path: Path) -> Iterator[Constant]:
    source = path.read_text()
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None and _is_number(node.value):
            match = _ABOVE.fullmatch(_comment_above(lines, node.lineno))
            if match is None:
                raise ValueError(f"{path}:{node.lineno}: no '# unit; meaning' above the constant")
            name, value = ast.unparse(node.target), ast.unparse(node.value)
            yield Constant(module, name, value, match["unit"], match["meaning"])


def _comment_above(lines: list[str], number: int) -> str:
    first = number - 1
    while lines[first - 1].startswith("# "):
        first -= 1
    return "# " + " ".join(line.removeprefix("# ") for line in lines[first : number - 1])


def _is_number(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant | ast.BinOp)


def shares(changed: tuple[str, str, float] | None) -> tuple[float, float]:
    """The mean and the worst share, with one constant changed to a multiple of itself.

    In a process of its own, which has not imported the limiter before.
    """
    if changed is not None:
        _load_changed(*changed)
    sys.path.insert(0, str(ROOT / "tests" / "limits"))
    from limiter_servers import NINE, efficiency, score

    found = [score(name, 0).overall for name in list(NINE)[: size(9, 1)]]
    rows = size(3840, 640)
    found += [efficiency(64, rows=rows).share, efficiency(64, rows=rows, admit=64).share]
    return mean(found), min(found)


def _load_changed(module: str, name: str, factor: float) -> None:
    """Import a module of the limiter with another value in its source, defaults included."""
    spec = importlib.util.find_spec(f"distilabel_endpoints._limits.{module}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            value = eval(ast.unparse(node.value or node.target))  # a number in our own source
            node.value = ast.Constant(_multiple(value, factor))
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), loaded.__dict__)


def _multiple(value: float, factor: float) -> float:
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def main() -> None:
    """Print the table."""
    listed = list(constants())[: size(1000, 1)]
    tries = [None, *((c.module, c.name, factor) for c in listed for factor in (0.5, 2.0))]
    # A process of its own for each, as a changed module stays changed.
    with ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        results = []
        for done, result in enumerate(pool.map(shares, tries), 1):
            results.append(result)
            note(f"limiter_constants: {done} of {len(tries)}")
    cells = [f"{average:.3f} / {worst:.3f}" for average, worst in results]
    rows = [
        (f"`{c.module}.{c.name}`", f"`{c.value}`", *cells[2 * n + 1 : 2 * n + 3])
        for n, c in enumerate(listed)
    ]
    title = f"As they are: {cells[0]} (mean / worst share of the best fixed limit)"
    print_table(title, ("constant", "value", "half of it", "twice"), rows)
