"""Words for messages and pages."""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the singular or the plural.

    Example:
        >>> counted(1, "member"), counted(1200, "candidate")
        ('1 member', '1,200 candidates')
    """
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"
