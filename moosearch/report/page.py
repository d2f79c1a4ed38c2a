"""A page: one HTML file with everything in it, which needs no network and asks for none.

Sections of HTML, data as JSON, and scripts of ours beside this file in ``assets/``: ``page.js`` always, which
unpacks Plotly and has what every page needs, then those that a page names. A script hands `Page.start` a
function that draws the page from the data. What others wrote reaches the page through `escape` or as data
that the scripts show as text; a policy in the page lets nothing but these very scripts run, and nothing load.
"""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from moosearch.text import value_text


def escape(value: object) -> str:
    """Return a text as HTML that shows it, in elements and in attributes.

    Example:
        >>> escape('<b title="a">')
        '&lt;b title=&quot;a&quot;&gt;'
    """
    return html.escape(str(value))


@dataclass(frozen=True)
class Section:
    """A part of a page, which its navigation names.

    Attributes:
        id: Of the element: lower-case letters and dashes.
        title: Heading, as text.
        body: HTML, in which `escape` was used for what others wrote.
        lead: One sentence under the heading, as text.
        short: Name in the navigation; the title if not given.
    """

    id: str
    title: str
    body: str
    lead: str = ""
    short: str = ""

    def html(self) -> str:
        """Return the element."""
        lead = f'<p class="lead">{escape(self.lead)}</p>' if self.lead else ""
        return (
            f'<section id="{escape(self.id)}" aria-labelledby="{escape(self.id)}-title">'
            f'<h2 id="{escape(self.id)}-title">{escape(self.title)}</h2>{lead}{self.body}</section>'
        )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Return a table as HTML; everything is escaped, and numbers stand to the right.

    Args:
        columns: Headings.
        rows: A cell a column each.
        caption: What the table says, for those who cannot see where it stands.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numbers = [all(row[i].startswith('<td class="n"') for row in cells) for i in range(len(columns))]
    head = "".join(
        f'<th scope="col"{" class=n" if cells and number else ""}>{escape(name)}</th>'
        for name, number in zip(columns, numbers, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or "table")
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}"><table>{said}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def document(
    title: str,
    sections: Sequence[Section],
    data: Mapping[str, Any],
    scripts: Sequence[str] = (),
    *,
    head: str = "",
    tools: str = "",
    refresh: float = 0,
) -> str:
    """Return a whole page.

    Args:
        title: Of the window, as text.
        sections: From top to bottom.
        data: Plain data without NaN; `Page.start` hands it to the scripts.
        scripts: Names of files in ``assets/``, which run in this order after ``page.js``.
        head: HTML above the sections; the title as heading if not given.
        tools: HTML beside the navigation, which stays in view.
        refresh: Seconds after which the page loads itself again, when nobody is using it; 0 for never.

    Raises:
        ValueError: The data holds what JSON does not have.
    """
    sources = [asset(name) for name in ("page.js", *scripts)]
    plotly, plotly_hash = _plotly()
    allowed = " ".join(f"'sha256-{digest}'" for digest in (*map(_digest, sources), plotly_hash))
    # Plotly draws parallel coordinates with functions that it writes itself: hence unsafe-eval.
    policy = (
        f"default-src 'none'; script-src 'unsafe-eval' {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    links = "".join(
        f'<li><a href="#{escape(each.id)}">{escape(each.short or each.title)}</a></li>' for each in sections
    )
    return Template(asset("page.html")).substitute(
        title=escape(title),
        policy=policy,
        style=asset("page.css"),
        head=head or f"<h1>{escape(title)}</h1>",
        navigation=links,
        tools=tools,
        sections="\n".join(each.html() for each in sections),
        refresh=f"{refresh:g}",
        data=_json(data),
        plotly=plotly,
        scripts="\n".join(f"<script>{source}</script>" for source in sources),
    )


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="n">{escape(value_text(value))}</td>'
    return f"<td>{escape(value)}</td>"


def asset(name: str) -> str:
    """Return a file of ``assets/``."""
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _json(data: Mapping[str, Any]) -> str:
    """Write data so that no text in it can end the element that it stands in, or begin another one."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _digest(source: str) -> str:
    """Return what a policy calls a script that may run."""
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


@cache
def _plotly() -> tuple[str, str]:
    """Return Plotly's script as gzip in base64, a third of it, and its digest."""
    from plotly.offline import get_plotlyjs

    source = get_plotlyjs()
    packed = gzip.compress(source.encode(), mtime=0)
    return base64.b64encode(packed).decode(), _digest(source)
