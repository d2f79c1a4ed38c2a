"""Text of others in Markdown."""

import re


def escaped(text: object) -> str:
    r"""Write what others wrote on one line, so that Markdown and HTML take it for text.

    >>> escaped("a_1 <b>")
    'a\\_1 \\<b\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
