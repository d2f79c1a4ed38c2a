"""Whether a campaign can run here, and what to do where not."""

import json
import shutil
from types import SimpleNamespace

import pytest
import yaml

from moosearch.errors import CampaignError, EvaluatorLostError
from moosearch.evaluators import probe as probing
from moosearch.evaluators.probe import Probed, probe
from moosearch.run import doctor
from moosearch.run.doctor import Check, examine


def by_name(checks):
    return {check.name: check for check in checks}


@pytest.fixture
def ray(monkeypatch):
    """A Ray that need not be started."""
    asked = []

    def found(address):
        asked.append(address)
        return Probed("2.60", 2, 8.0, 1.0, 3.0, 0.1)

    monkeypatch.setattr(probing, "probe", found)
    return asked


def test_a_machine_that_works(cli, tmp_path, ray):
    code, out, _ = cli("doctor", tmp_path / "new" / "campaign", "--ray-address", "auto")
    assert code == 0, out
    assert ray == ["auto"]
    for name in (
        "Python",
        "packages",
        "CPU",
        "memory",
        "device",
        "Ray",
        "disk",
        "locks",
        "SQLite",
        "storage",
    ):
        assert name in out
    assert "2 nodes, 8 CPUs, 1 GPU;" in out
    assert list(tmp_path.iterdir()) == []  # it leaves nothing


def test_json(cli, tmp_path):
    code, out, _ = cli("doctor", tmp_path, "--quick", "--json")
    assert code == 0
    checks = json.loads(out)
    assert {"name", "level", "found", "advice"} == checks[0].keys()
    assert next(c for c in checks if c["name"] == "Ray")["found"].endswith("not started (--quick)")


def test_a_campaign_with_its_data(finished, ray):
    found = by_name(examine(finished.folder.root))
    assert found["campaign"].found == "tiny: campaign.yaml is valid"
    assert "images to train on" in found["data"].found
    assert found["lock"] == Check("lock", "ok", "free")


def test_data_that_is_not_there(finished, tmp_path, ray):
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    tree = yaml.safe_load((folder / "campaign.yaml").read_text())
    tree["candidate"]["dataset"] = {
        "name": "mnist",
        "root": str(tmp_path / "nowhere"),
        "download": False,
        "auxiliary": ["odd_even"],
    }
    (folder / "campaign.yaml").write_text(yaml.safe_dump(tree))
    found = by_name(examine(folder))
    assert found["data"].level == "failure"
    assert "nowhere" in found["data"].found
    assert by_name(examine(folder, quick=True))["data"].level == "ok"


def test_who_holds_a_campaign(finished, tmp_path):
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    files = type(finished)(folder).folder
    with files.lock():
        held = by_name(examine(folder, quick=True))["lock"]
        assert held.level == "ok"
        assert "held by" in held.found
        told = files.driver.read_text()
    files.driver.write_text(told)
    left = by_name(examine(folder, quick=True))["lock"]
    assert "ended without a word" in left.found
    assert "moosearch resume" in left.advice


def test_a_damaged_campaign(finished, tmp_path, cli):
    folder = shutil.copytree(finished.folder.root, tmp_path / "c")
    (folder / "campaign.yaml").write_text("campaign: [")
    code, out, _ = cli("doctor", folder, "--quick", "--json")
    assert code == 1
    failed = {check["name"] for check in json.loads(out) if check["level"] == "failure"}
    assert failed == {"campaign"}


def test_a_storage_that_does_not_answer_tells_no_password(cli, tmp_path, ray, monkeypatch):
    monkeypatch.setenv("MOOSEARCH_STORAGE_PASSWORD", "hidden")
    for url in ("postgresql://me:geheim@127.0.0.1:1/x", "postgresql://me@127.0.0.1:1/x?sslpassword=geheim"):
        code, out, err = cli("doctor", tmp_path, "--storage", url, "--json")
        assert code == 1
        assert "geheim" not in out + err
        assert "hidden" not in out + err
        storage = by_name(Check(**check) for check in json.loads(out))["storage"]
        assert storage.level == "failure"
        assert storage.advice
    code, out, _ = cli("doctor", tmp_path, "--storage", f"sqlite:///{tmp_path}/x.db", "--quick")
    assert code == 0


def test_ray_that_does_not_start(cli, tmp_path, monkeypatch):
    def lost(address):
        raise EvaluatorLostError(f"no cluster at {address}")

    monkeypatch.setattr(probing, "probe", lost)
    code, out, _ = cli("doctor", tmp_path, "--ray-address", "ray://me:geheim@head:1")
    assert code == 1
    assert "no cluster at" in out
    assert "geheim" not in out


def test_one_check_that_breaks_keeps_no_other_back(tmp_path, monkeypatch, ray):
    def broken():
        raise OSError("input/output error")
        yield

    monkeypatch.setattr(doctor, "_memory", broken)
    found = by_name(examine(tmp_path))
    assert found["memory"] == Check("memory", "failure", "input/output error")
    assert found["storage"].level == "ok"


def test_packages_that_do_not_fit(monkeypatch):
    required = ["numpy>=99", "nothing-like-it>=1", "scipy>=1", "tensorboard>=99; extra == 'tensorboard'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: required)
    (check,) = doctor._packages()
    assert check.level == "failure"
    assert "numpy is" in check.found
    assert "nothing-like-it is missing" in check.found
    assert "scipy is" not in check.found
    assert "tensorboard" not in check.found


def test_extras_say_what_is_there(monkeypatch):
    required = ["numpy>=1", "scipy>=1; extra == 'some'", "nothing-like-it; extra == 'other'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: required)
    extras = SimpleNamespace(get_all=lambda _: ["some", "other", "dev"])
    monkeypatch.setattr(doctor.importlib.metadata, "metadata", lambda _: extras)
    (check,) = doctor._extras()
    assert check.found == "some: yes, other: no"


@pytest.mark.parametrize(
    ("free", "level"), [(2**20, "failure"), (2**30, "warning"), (40 * 2**30, "ok"), (30 * 2**30, "warning")]
)
def test_a_disk_that_fills_up(tmp_path, monkeypatch, free, level):
    total = 50 * 2**30 if level != "warning" else 1000 * 2**30
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=total))
    assert doctor._disk("disk", tmp_path, failing=2**27, warning=5 * 2**30).level == level


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    class Nobody:
        def __init__(self, *arguments, **options):
            pass

        def acquire(self):
            return self

        __enter__ = acquire

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(doctor, "FileLock", Nobody)
    (check,) = doctor._locks(tmp_path)
    assert check.level == "failure"


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "512")
    monkeypatch.setattr(doctor, "_quota", lambda: float("inf"))
    (check,) = doctor._cpus()
    assert check.level == "warning"
    monkeypatch.setattr(doctor, "_quota", lambda: 0.5)
    (check,) = doctor._cpus()
    assert "of which a container may use 0.5" in check.found
    assert check.advice == "set campaign.evaluator.workers to 1"


def test_a_port_where_nobody_listens():
    with pytest.raises(CampaignError, match="nobody answers"):
        probe("127.0.0.1:1")


def test_ray_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(probing.sys, "executable", "/bin/sleep")
    with pytest.raises(EvaluatorLostError):  # it is no Python and says so at once
        probe("auto")
    started = []
    real = probing.subprocess.Popen

    def popen(command, **options):
        started.append(real(["/bin/sleep", "60"], **options))
        return started[-1]

    monkeypatch.setattr(probing.subprocess, "Popen", popen)
    with pytest.raises(EvaluatorLostError, match="nothing was heard"):
        probe("auto", patience=0.1)
    assert started[0].poll() is not None


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_ray():
    found = probe()
    assert (found.nodes, found.cpus) == (1, 1.0)
    assert found.task > 0
