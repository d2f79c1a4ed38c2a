"""A thousand damaged files: each is used, or refused in one line; no traceback, nothing written elsewhere.

`make test` tries a twentieth of them, others every day.
"""

import copy
import json
import random
import shutil
import signal
import string

import pytest
import yaml

from moosearch.api.verbs import confirm
from moosearch.campaign.events import EventLog
from moosearch.cli import main
from moosearch.run import run as running

SECONDS = 60
TENTHS = 10
IN_TENTHS = pytest.mark.parametrize("tenth", range(TENTHS))
NASTY = (
    *(None, True, 0, -1, 0.5, 1e300, 2**31, 10**30, float("inf"), float("nan")),
    *(
        "",
        " ",
        "x",
        "../../x",
        "/",
        "\0",
        "é" * 300,
        "1/0",
        "8/255",
        "${HOME}",
        "null",
        "postgresql://u:p@h/d",
    ),
    *([], {}, [[]], [1, "a"], {"choice": []}, {"choice": [1, 1]}, {"real": [1, 0]}, {"name": "pgd"}, {"": 0}),
)


def mutated_bytes(content, rng):
    """Damage bytes as disks, editors and attackers do."""
    kind, size = rng.randrange(7), len(content)
    at, end = sorted((rng.randrange(size + 1), rng.randrange(size + 1)))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + content[end:]
    if kind == 2:
        return content[:at] + bytes(min(end - at, 512)) + content[min(end, at + 512) :]
    if kind == 3:
        return content[:at] + rng.randbytes(rng.randrange(1, 9)) + content[at:]
    if kind == 4:
        return content[:at] + content[at : at + 200] + content[at:]
    if kind == 5:
        changed = bytearray(content or b"x")
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    nasty = json.dumps(rng.choice(NASTY)).encode()
    return content[:at] + nasty + content[min(size, at + len(nasty)) :]


def mutated_text(content, rng):
    """Damage text by words and lines, so that more of it remains what it was."""
    lines = content.decode().splitlines(keepends=True)
    line = rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        del lines[line]
    elif kind == 1:
        lines.insert(line, rng.choice(lines))
    elif kind == 2:
        lines[line] = " " * rng.randrange(1, 4) + lines[line]
    elif kind == 3:
        words = lines[line].split(" ")
        words[rng.randrange(len(words))] = str(rng.choice(NASTY))
        lines[line] = " ".join(words)
    else:
        return mutated_bytes(content, rng)
    return "".join(lines).encode(errors="surrogatepass")


def mutated_tree(tree, rng):
    """Return a tree with something in it deleted, renamed, wrapped, or replaced."""
    tree = copy.deepcopy(tree)
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            walk(value)

    walk(tree)
    for _ in range(rng.choice((1, 1, 2))):
        node, key = rng.choice(places)
        if (isinstance(node, dict) and key not in node) or (isinstance(node, list) and key >= len(node)):
            continue
        kind = rng.randrange(5)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node["".join(rng.choices(string.ascii_lowercase, k=5))] = node.pop(key)
        elif kind == 2:
            node[key] = [node[key]]
        else:
            node[key] = copy.deepcopy(rng.choice(NASTY))
    return tree


def mutated_json(content, rng):
    if rng.random() < 0.3:
        return mutated_text(content, rng)
    return json.dumps(mutated_tree(json.loads(content), rng)).encode()


def mutated_lines(content, rng):
    """Damage an object of a file that has one a line."""
    lines = content.splitlines(keepends=True)
    line = rng.randrange(len(lines))
    lines[line] = mutated_json(lines[line], rng) + b"\n"
    return b"".join(lines)


def mutated_yaml(content, rng):
    if rng.random() < 0.5:
        return mutated_text(content, rng)
    return yaml.safe_dump(mutated_tree(yaml.safe_load(content), rng)).encode()


@pytest.fixture
def judged(capfd, monkeypatch):
    """Run a command; say what is wrong with how it ended, or nothing."""

    def overdue(_signal, _frame):
        raise TimeoutError(f"not done after {SECONDS} s")

    monkeypatch.setenv("COLUMNS", "200")
    before = signal.signal(signal.SIGALRM, overdue)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["moosearch", *map(str, arguments)])
        signal.alarm(SECONDS)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            return f"{arguments[0]}: {type(error).__name__}: {error}"[:400]
        finally:
            signal.alarm(0)
        said = capfd.readouterr().err
        if code not in (0, 1, 2):
            return f"{arguments[0]}: exit code {code}"
        right = code == 0 or (said.startswith("error:") and said.count("\n") == 1)
        return (
            None if right and "Traceback" not in said else f"{arguments[0]}: code {code}, said {said!r}"[:400]
        )

    yield run
    signal.signal(signal.SIGALRM, before)


def contents(folder):
    """Every file under a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def put_back(folder, files):
    """Make the files under a folder what they were."""
    for path, content in contents(folder).items():
        if path not in files:
            path.unlink()
        elif content != files[path]:
            path.write_bytes(files[path])
    for path, content in files.items():
        if not path.exists():  # with its folder: a `resume` without `keep: all` drops what is off the front
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@pytest.fixture
def tried(judged, tmp_path):
    """Mutate a file many times, run the first of some commands each time, the others every third time.

    Nothing but the campaign's folder may change.
    """

    def run(folder, path, mutate, count, tenth, *commands):
        files = contents(folder)
        wrong = []
        for turn, seed in enumerate(range(tenth, count, TENTHS)):
            content = mutate(files[path], random.Random(f"{path.name} {seed}"))
            path.write_bytes(content)
            for command in commands if turn % 3 == 0 else commands[:1]:
                said = judged(*command)
                if said:
                    wrong.append(f"{seed}: {said}")
            put_back(folder, files)
            assert sorted(tmp_path.iterdir()) == [folder]
        assert not wrong, "\n".join(wrong)

    return run


@pytest.mark.rotated(20)
@IN_TENTHS
@pytest.mark.parametrize(("mutate", "count"), [(mutated_text, 250), (mutated_yaml, 250)])
def test_search_spaces(tried, tmp_path, tiny_file, mutate, count, tenth):
    folder = tmp_path / "s"
    folder.mkdir()
    path = tiny_file.rename(folder / "space.yaml")
    tried(folder, path, mutate, count, tenth, ("validate", path))


@pytest.fixture(scope="session")
def confirmed(finished, shared):
    """A finished campaign, of which two members are confirmed; with few models, so that it is soon copied."""

    def make(folder):
        shutil.copytree(finished.folder.root, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("moosearch.judging.masking.checks", lambda *_, **__: {})
            confirm(
                folder,
                rules=["knee", "best:clean_accuracy"],
                overrides=["campaign.confirmation={attacks: [fgsm], seeds: 1, images: 40}"],
            )

    return shared("mutated", make)


@pytest.fixture
def campaign(confirmed, tmp_path, monkeypatch):
    """A copy of it, whose `resume` plans, and restores what was lost, and trains nothing."""

    def planning(plan, folder, observer=None, stop=None, order=None):
        with folder.lock(), EventLog(folder.events) as log:
            running._record(plan, folder, log, running._describe(plan, folder, log))

    monkeypatch.setattr(running, "run", planning)
    monkeypatch.setattr("moosearch.report.plots.front.save", lambda *_: [])
    return shutil.copytree(confirmed, tmp_path / "c")


@pytest.mark.rotated(20)
@IN_TENTHS
@pytest.mark.parametrize(
    ("name", "mutate", "count", "commands"),
    [
        ("campaign.yaml", mutated_yaml, 90, ("status", "resume")),
        ("study.db", mutated_bytes, 120, ("front", "resume")),
        ("events.jsonl", mutated_lines, 50, ("status", "resume")),
        ("environment.json", mutated_json, 40, ("front", "resume")),
        ("confirmed/plan.json", mutated_json, 40, ("status", "resume")),
        ("confirmed/*/1.json", mutated_json, 80, ("status", "front")),
    ],
)
def test_campaigns(tried, campaign, name, mutate, count, commands, tenth):
    (path, *_) = sorted(campaign.glob(name))
    tried(campaign, path, mutate, count, tenth, *((command, campaign) for command in commands))


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory, skip_programs):
    with pytest.MonkeyPatch.context() as patch:
        skip_programs(patch)
        return finished.export("knee", tmp_path_factory.mktemp("export") / "model")


@pytest.mark.rotated(20)
@IN_TENTHS
@pytest.mark.parametrize(
    ("name", "mutate", "count"),
    [("manifest.json", mutated_json, 40), ("weights.safetensors", mutated_bytes, 40)],
)
def test_exports(tried, exported, tmp_path, name, mutate, count, tenth):
    folder = shutil.copytree(exported, tmp_path / "e")
    evaluate = ("evaluate", folder, "--attacks", "fgsm", "--images", "2")
    tried(folder, folder / name, mutate, count, tenth, evaluate)


def test_a_thousand_in_all():
    """The counts above: what this file promises."""
    assert 2 * 250 + 90 + 120 + 50 + 40 + 40 + 80 + 2 * 40 == 1000
