"""A benchmark is run by hand: nothing here is collected, doctests included."""

collect_ignore_glob = ["*.py"]
