"""``python -m moosearch``."""

from moosearch.cli import main

main()
