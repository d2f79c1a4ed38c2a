"""The search spaces that come with the package: found by name, and written out to start from."""

import re
from pathlib import Path

from moosearch.errors import SpecError, nearest
from moosearch.space.files import Document, load, parse

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder() -> Path:
    """Return the folder with the shipped search spaces.

    A wheel has it inside the package; in a checkout it lies beside the package.
    """
    inside = _PACKAGE / "search_spaces"
    return inside if inside.is_dir() else _PACKAGE.parent / "search_spaces"


def shipped_spaces() -> dict[str, Path]:
    """Return the shipped search space files by name: ``cifar10``, ``papers/mnist_recipes``."""
    folder = shipped_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def summary(path: Path) -> str:
    """Return the first sentence of the comment that a search space file begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return re.split(r"(?<!al\.)(?<=\.)\s", " ".join(lines))[0]


def find(given: Path | str) -> Path:
    """Return the search space file that is meant by a path, or by the name of a shipped one.

    What lies on disk wins: the file ``given``, then ``given.yaml``, so that a shipped space that was copied
    and changed is found by its name where the copy lies.

    Raises:
        SpecError: There is no such file, and no shipped space has this name.
    """
    path = Path(given)
    for file in (path, path.parent / f"{path.name}.yaml"):
        if file.is_file():
            return file
    spaces = shipped_spaces()
    name = path.as_posix()
    if name in spaces:
        return spaces[name]
    if path.is_dir():
        raise SpecError(f"{given}: this is a folder, expected a search space file.")
    without_suffix = path.with_suffix("").as_posix() if path.suffix in (".yaml", ".yml") else name
    raise SpecError(
        f"{given}: there is no such file, and no shipped search space has this name. "
        f"{nearest(without_suffix, spaces)}"
    )


def load_space(given: Path | str) -> Document:
    """Read the search space file that `find` finds.

    Raises:
        SpecError: There is none, or it cannot be parsed.
    """
    return load(find(given))


_HEAD = """\
# Begun from the shipped search space `{name}`.
#
# `moosearch validate {file}` checks this file, `moosearch search {file}` starts the campaign.
# What can stand here, with all parameters and defaults: `moosearch list`, `moosearch list attacks`, ...
#
# Any value under `candidate:` can be a gene, which the search decides; a value instead of a gene fixes it.
#   {{real: [0.5, 0.95]}}    {{log_real: [1e-4, 1e-1]}}
#   {{integer: [4, 16, 2]}}  {{log_integer: [8, 512]}}
#   {{choice: [a, b, {{name: c, parameter: {{real: [0, 1]}}}}]}}    an option can have genes of its own
#
# Your own images: write one of these in place of the dataset below.
#   dataset: {{name: npz, path: images.npz}}
#     arrays x_train, y_train, x_test and y_test; images uint8, (N, H, W) or (N, H, W, C)
#   dataset: {{name: image_folder, path: images, size: 64}}
#     images/train/CLASS/*.png and images/test/CLASS/*.png
# Auxiliary tasks of your own, beside its name and path. The attacks `mta` and `mixed` need one; without it
# remove `auxiliary` and these attacks.
#   own_tasks: [{{name: kind, groups: {{animal: [bird, cat], vehicle: [ship, truck]}}}}]
#   auxiliary: [kind]
# Give training attack and objective the same `eps`, in pixels of [0, 1].

"""
_OWN_NAME = re.compile(r"(?m)^campaign:(?:\n(?:[ ]+.*|#.*|))*?\n([ ]+name:[^\n]*\n)")


def starting_point(name: str, file: Path | str) -> str:
    """Return the text of a search space file to start from: a shipped one under comments that explain it.

    Its campaign has no name of its own, so that it is called like the file.

    Args:
        name: The name of a shipped search space.
        file: The file that it is for; messages and commands in the comments name it.

    Raises:
        SpecError: No shipped search space has this name.
    """
    spaces = shipped_spaces()
    if name not in spaces:
        raise SpecError(f"no shipped search space is called '{name}'. {nearest(name, spaces)}")
    text = spaces[name].read_text(encoding="utf-8")
    named = _OWN_NAME.search(text)
    if named is not None:
        text = text[: named.start(1)] + text[named.end(1) :]
    written = _HEAD.format(name=name, file=file) + text
    parse(written, str(file))
    return written
