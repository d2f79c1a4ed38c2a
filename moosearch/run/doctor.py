"""Checks whether a campaign can run here: machine, packages, Ray, storage, disk, data."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from packaging.requirements import Requirement

from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.passwords import masked_text
from moosearch.campaign.storage import JOURNAL, Storage, cause, check
from moosearch.errors import CampaignError, MooSearchError
from moosearch.evaluators.devices import use
from moosearch.evaluators.ray_store import check_memory, memory_here
from moosearch.space.files import load
from moosearch.text import counted, printable

Level = Literal["ok", "warning", "failure"]
GIB = 2**30


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes:
        name: What was checked.
        level: Whether it is as it should be; a failure keeps a campaign from running.
        found: What is there.
        advice: What to do; empty where nothing is.
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def examine(
    folder: Path | None = None,
    *,
    space: Path | None = None,
    address: str = "",
    storage: str = "",
    quick: bool = False,
) -> Iterator[Check]:
    """Check everything, one thing after the other; what is wrong with one keeps none of the others back.

    Args:
        folder: A campaign's folder, or where one is to be; this one if not given.
        space: A search space file, whose campaign is to be; none if not given.
        address: A running Ray cluster; empty for one that is started on this machine, as a try.
        storage: A storage to try, as in ``campaign.storage``; by default that of the campaign in the folder.
        quick: Whether to leave out what takes seconds: Ray is not started, and no images are read.
    """
    files = CampaignFolder(folder) if folder is not None else None
    there = _existing(folder or Path())
    checks: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("extras", _extras),
        ("CPU", _cpus),
        ("memory", _memory),
        ("device", _device),
        ("kernels", _kernels),
        ("Ray", lambda: _ray(address, quick=quick)),
        ("disk", lambda: _disks(there)),
        ("locks", lambda: _locks(there)),
        ("SQLite", lambda: _sqlite(there)),
        ("storage", lambda: _storage(files, storage)),
    ]
    if files is not None and files.started:
        checks += [("lock", lambda: _holder(files)), ("campaign", lambda: _campaign(files, quick=quick))]
    if space is not None:
        checks += [("search space", lambda: _asked("search space", space, quick=quick))]
    for name, run in checks:
        try:
            yield from run()
        except Exception as error:
            yield Check(name, "failure", printable(cause(error)))


def _python() -> Iterator[Check]:
    yield Check("Python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _requirements() -> list[Requirement]:
    """Return what this package requires, as it was installed."""
    return [Requirement(text) for text in importlib.metadata.requires("moosearch") or ()]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _packages() -> Iterator[Check]:
    try:
        required = [r for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})]
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "warning", "moosearch is not installed", "pip install .")
        return
    wrong = []
    for requirement in required:
        version = _version(requirement.name)
        if not version:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    mine = f"moosearch {_version('moosearch')}"
    if wrong:
        advice = "pip install --upgrade moosearch, in an environment of its own"
        yield Check("packages", "failure", f"{mine}: {', '.join(wrong)}", advice)
    else:
        names = ("torch", "ray", "optuna", "pymoo")
        versions = ", ".join(f"{name} {_version(name)}" for name in names)
        yield Check("packages", "ok", f"{mine}, {versions}; all {len(required)} as required")


def _extras() -> Iterator[Check]:
    extras = [
        name
        for name in importlib.metadata.metadata("moosearch").get_all("Provides-Extra") or ()
        if name != "dev"
    ]
    found = []
    for extra in extras:
        needed = [r for r in _requirements() if r.marker is not None and r.marker.evaluate({"extra": extra})]
        needed = [r for r in needed if not r.marker or not r.marker.evaluate({"extra": ""})]
        found.append(f"{extra}: {'yes' if all(_version(r.name) for r in needed) else 'no'}")
    advice = "pip install 'moosearch[NAME]' for more" if any(text.endswith("no") for text in found) else ""
    yield Check("extras", "ok", ", ".join(found) or "none", advice)


def _cpus() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _quota()
    found = f"{cores} cores" + (f", of which a container may use {share:g}" if share < cores else "")
    threads = {
        name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ
    }
    found += "".join(f", {name}={value}" for name, value in threads.items())
    many = [name for name, value in threads.items() if value.isdigit() and int(value) > min(cores, share)]
    if share < cores:
        yield Check("CPU", "warning", found, f"set campaign.evaluator.workers to {max(1, int(share))}")
    elif many:
        yield Check(
            "CPU", "warning", found, f"{many[0]} is more than there are: campaign.resources.cpus rules"
        )
    else:
        yield Check("CPU", "ok", found)


def _quota() -> float:
    """Return how many cores a container may use; infinite where nothing says."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return float("inf")


def _memory() -> Iterator[Check]:
    memory = memory_here()
    found = f"{memory.free / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    try:
        check_memory(memory)
    except CampaignError:
        advice = "too little for Ray: end something, or use --evaluator serial"
        yield Check("memory", "warning", found, advice)
    else:
        yield Check("memory", "ok", found)


def _device() -> Iterator[Check]:
    import torch

    from moosearch.training.numerics import has_bf16

    if torch.cuda.is_available():
        driver = _driver_version()
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found = (
                f"{torch.cuda.get_device_name(index)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, "
                f"CUDA {torch.version.cuda}{driver}"
            )
            low = free < GIB
            yield Check(
                "device", "warning" if low else "ok", found, "another process fills it" if low else ""
            )
    elif shutil.which("nvidia-smi"):
        found = f"there is a GPU{_driver_version()}, and torch {torch.__version__} cannot use it"
        yield Check("device", "warning", found, "install torch for the driver's version of CUDA")
    else:
        bf16 = "with" if has_bf16(torch.device("cpu")) else "without"
        yield Check("device", "ok", f"CPU {bf16} bfloat16, no GPU")


def _kernels() -> Iterator[Check]:
    """Check how images of usual sizes are trained on here, and whether that is computed rightly."""
    import torch

    from moosearch.data import Split
    from moosearch.data.cifar import Cifar10
    from moosearch.data.digits import Digits
    from moosearch.models.resnet import SmallResNet
    from moosearch.training import CandidateSpec
    from moosearch.training.numerics import instruction_limit
    from moosearch.training.train import Trainer

    device = use("auto")
    found, faults = [], []
    for dataset in (Digits(), Cifar10()):
        x = torch.zeros(8, *dataset.shape, device=device)
        images = Split(x, torch.arange(8, device=device))
        trainer = Trainer(CandidateSpec(dataset, SmallResNet(width=6)), images, seed=0)
        found.append(f"images of {x.shape[2]}x{x.shape[3]} in {trainer.numerics}")
        faults += [trainer.fault] if trainer.fault else []
    if device.type == "cpu":
        limit = instruction_limit()
        found.append(
            f"torch uses {torch.backends.cpu.get_cpu_capability()}"
            + (f", oneDNN no more than {limit} (ONEDNN_MAX_CPU_ISA)" if limit else "")
        )
    if faults:
        advice = "candidates with such layers are trained contiguous in float32: slower, and rightly"
        yield Check("kernels", "warning", f"{'; '.join(found)}; but a {faults[0]}", advice)
    else:
        yield Check("kernels", "ok", f"{'; '.join(found)}; convolutions agree with float64")


def _driver_version() -> str:
    """Return the version of NVIDIA's driver, as part of a sentence."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f", driver {printable(said[0])}" if said else ""


def _ray(address: str, *, quick: bool) -> Iterator[Check]:
    from moosearch.evaluators.probe import probe

    where = address or "a local cluster"
    if quick:
        version = _version("ray")
        level: Level = "ok" if version else "failure"
        yield Check("Ray", level, f"{version or 'not installed'}; not started (--quick)")
        return
    try:
        ray = probe(address)
    except MooSearchError as error:
        advice = (
            "is it up, and is RAY_AUTH_TOKEN what it asks for? `ray status --address` tells"
            if address
            else "look into Ray's logs in /tmp/ray, or use --evaluator serial"
        )
        yield Check("Ray", "failure", f"{masked_text(where)}: {printable(cause(error))}", advice)
        return
    found = (
        f"{ray.version}, {masked_text(where)}: {counted(ray.nodes, 'node')}, "
        f"{counted(int(ray.cpus), 'CPU')}, {counted(int(ray.gpus), 'GPU')}; "
        f"there after {ray.start:.1f} s, a first task took {ray.task:.1f} s"
    )
    yield Check("Ray", "ok", found)


def _existing(path: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _disks(folder: Path) -> Iterator[Check]:
    temporary = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    yield _disk("disk", folder, failing=GIB // 10, warning=5 * GIB)
    yield _disk("Ray's disk", _existing(temporary), failing=GIB // 10, warning=2 * GIB)
    memory = Path("/dev/shm")
    if memory.is_dir():
        usage = shutil.disk_usage(memory)
        low = usage.free < GIB // 2
        advice = "Ray's object store falls back to the disk; in Docker: --shm-size=2g" if low else ""
        found = f"{memory}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
        yield Check("shared memory", "warning" if low else "ok", found, advice)


def _disk(name: str, folder: Path, *, failing: int, warning: int) -> Check:
    usage = shutil.disk_usage(folder)
    found = f"{folder}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
    if not os.access(folder, os.W_OK):
        return Check(
            name, "failure", f"{folder}: cannot be written", "name another folder, or mend its rights"
        )
    if usage.free < failing:
        return Check(name, "failure", found, "make room: nothing could be stored")
    if usage.free < warning or usage.free < 0.05 * usage.total:
        return Check(name, "warning", found, "make room: Ray stops storing objects at 95 %")
    return Check(name, "ok", found)


def _locks(folder: Path) -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as scratch:
        path = Path(scratch) / "lock"
        with FileLock(path, timeout=5):
            try:
                FileLock(path, timeout=0).acquire()
            except Timeout:
                yield Check("locks", "ok", "this file system keeps a second process out")
            else:
                advice = "two drivers could run one campaign: use a folder on another file system"
                yield Check("locks", "failure", "this file system's locks hold nobody off", advice)


def _sqlite(folder: Path) -> Iterator[Check]:
    """Measure how long a transaction takes to be on disk, as after every candidate."""
    seconds = []
    with (
        tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as scratch,
        contextlib.closing(sqlite3.connect(Path(scratch) / "study.db")) as database,
    ):
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE trial (number INTEGER, text TEXT)")
        for number in range(9):
            start = time.perf_counter()
            database.execute("INSERT INTO trial VALUES (?, ?)", (number, "x" * 1000))
            database.commit()
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    found = f"a transaction is on disk after {1000 * median:.1f} ms"
    if median > 0.5:
        yield Check(
            "SQLite", "warning", found, "every candidate waits for some: use a local disk, or a database"
        )
    else:
        yield Check("SQLite", "ok", found)


def _storage(files: CampaignFolder | None, setting: str) -> Iterator[Check]:
    if not setting and files is not None and files.started:
        setting = Storage.of(files).setting
    if setting in ("", JOURNAL):
        yield Check("storage", "ok", "Optuna's journal in the folder" if setting else "SQLite in the folder")
        return
    start = time.perf_counter()
    try:
        check(setting)
    except MooSearchError as error:
        advice = "is the server up, are user, password and database right?"
        yield Check("storage", "failure", printable(cause(error)), advice)
        return
    yield Check(
        "storage", "ok", f"{masked_text(setting)} answers after {1000 * (time.perf_counter() - start):.0f} ms"
    )


def _holder(files: CampaignFolder) -> Iterator[Check]:
    if files.running:
        yield Check("lock", "ok", f"held by {files.holder or 'another process'}")
    elif files.driver.exists():
        found = f"free; {files.holder or 'another process'} ended without a word"
        yield Check("lock", "ok", found, f"go on with `moosearch resume {files.root}`")
    else:
        yield Check("lock", "ok", "free")


def _campaign(files: CampaignFolder, *, quick: bool) -> Iterator[Check]:
    if not files.spec.is_file():
        damage = files.damaged(files.spec, "it is missing")
        yield Check("campaign", "failure", str(damage))
        return
    yield from _asked("campaign", files.spec, quick=quick)


def _asked(check: str, file: Path, *, quick: bool) -> Iterator[Check]:
    """Check a search space file and what it asks for: its data, and its trackers' libraries."""
    from moosearch.plan.plan import make_plan

    plan = make_plan(load(file))
    yield Check(check, "ok", f"{plan.campaign.name}: {file.name} is valid")
    for tracker in plan.campaign.trackers:
        tracker.check()
    told: set[str] = set()
    for dataset in plan.datasets:
        name = type(dataset).__name__
        if quick:
            yield Check("data", "ok", f"{name}: not read (--quick)")
            continue
        try:
            splits = dataset.load()
        except MooSearchError as error:
            yield Check(
                "data",
                "failure",
                printable(str(error)),
                "put the files there, or search or resume to download them",
            )
        else:
            counts = (len(splits.train), len(splits.val), len(splits.test))
            found = "{}: {} images to train on, {} to validate, {} to test".format(name, *counts)
            if found not in told:  # the same images with other auxiliary tasks
                yield Check("data", "ok", found)
            told.add(found)
