"""Numbers, durations and the text of others, written for people."""

import math
import re
from collections.abc import Collection, Sequence

from moosearch.evaluation import Evaluation, ObjectiveInfo


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the singular or the plural.

    Example:
        >>> counted(1, "member"), counted(1200, "candidate")
        ('1 member', '1,200 candidates')
    """
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def recipe_text(evaluation: Evaluation, paths: Collection[str]) -> str:
    """Write the genes of a candidate that are in ``paths`` for people: numbers with the gene's last name.

    Example:
        >>> from moosearch.evaluation import Candidate
        >>> genome = {"training.loss": "trades", "training.optimizer.lr": 0.1, "defenses.input.0": "none"}
        >>> recipe_text(Evaluation(Candidate("0", genome, {}), "complete"), list(genome))
        'trades, lr=0.1, input.0=none'
    """
    return ", ".join(
        value if isinstance(value, str) and value != "none" else f"{_last_name(path)}={value}"
        for path, value in evaluation.candidate.genome.items()
        if path in paths
    )


def _last_name(path: str) -> str:
    before, _, last = path.rpartition(".")
    return f"{before.rpartition('.')[2]}.{last}" if last.isdigit() else last


def alike_text(objectives: Sequence[ObjectiveInfo]) -> str:
    """Say within what boxes values of objectives count as equal; nothing where there is no tolerance.

    Example:
        >>> alike_text([ObjectiveInfo("latency", "minimize", "ms", 0.0, 2.0, tolerance=0.1)])
        'alike in dominance: latency in boxes of 10%'
    """
    told = ", ".join(f"{o.key} in boxes of {100 * o.tolerance:.4g}%" for o in objectives if o.tolerance)
    return f"alike in dominance: {told}" if told else ""


def value_text(value: float) -> str:
    """Write an objective's value for people: four digits, or whole with separators from 1,000 to a billion.

    Example:
        >>> value_text(0.97222), value_text(609536.0), value_text(1393827552.0)
        ('0.9722', '609,536', '1.394e+09')
    """
    return f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.4g}"


def spread_text(mean: float, std: float) -> str:
    """Write a mean with its standard deviation; NaN, as that of a single value, is left out.

    Example:
        >>> spread_text(0.95312, 0.00418)
        '0.9531 ±0.0042'
    """
    return value_text(mean) if math.isnan(std) else f"{value_text(mean)} ±{std:.2g}"


def clock(seconds: float) -> str:
    """Write a duration.

    Example:
        >>> clock(75), clock(3675), clock(90000)
        ('1:15', '1:01:15', '1 d 1:00:00')
    """
    minutes, rest = divmod(int(min(seconds, 1e9)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours or days else f"{minutes}:{rest:02d}"
    return f"{days} d {text}" if days else text


def duration(seconds: float) -> str:
    """Return a time for people.

    Example:
        >>> duration(42), duration(3000), duration(7260), duration(300000)
        ('42 s', '50 min', '2.0 h', '3.5 d')
    """
    for size, limit, unit, digits in ((1, 120, "s", 0), (60, 7200, "min", 0), (3600, 172800, "h", 1)):
        if seconds < limit:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def printable(text: str) -> str:
    """Return a text as it may stand on a terminal: printable, and not too long."""
    return "".join(c if c.isprintable() else " " for c in text[:500])


def escape_markdown(text: object) -> str:
    r"""Write what others wrote on one line, so that Markdown and HTML take it for text.

    >>> escape_markdown("a_1 <b>")
    'a\\_1 \\<b\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
