"""Times and energies by a clock and a meter that are made up: how fast a machine is makes no difference."""

import sys
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout
from torch import nn

from moosearch.errors import SpecError
from moosearch.models import timing
from moosearch.models.timing import energy_meter, measure_energy, measure_latency, undisturbed


class Slow(nn.Module):
    """Advances a clock by given seconds a pass, and notes the batch."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = iter(seconds)
        self.now = 0.0
        self.seen = []

    def forward(self, x):
        self.now += next(self.seconds)
        self.seen.append((tuple(x.shape), self.training, torch.get_num_threads(), x.requires_grad))
        return x


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Give a network's clock to the module, and a lock of our own."""
    monkeypatch.setattr(timing.tempfile, "gettempdir", lambda: str(tmp_path))

    def of(network):
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: network.now))
        return network

    return of


@pytest.mark.parametrize(
    ("warm_up", "timed", "expected"),
    [(3, [0.1, 0.4, 0.2, 1.0, 0.3], 300.0), (5, [0.002] * 13 + [0.1] * 12, 2.0)],
)
def test_a_round_is_the_median_without_the_warm_up(clock, warm_up, timed, expected):
    network = clock(Slow([0.2] * warm_up + timed))
    measured = measure_latency(network, (1, 2, 3), batch=7, repeats=len(timed))
    assert measured.value == pytest.approx(expected)
    assert measured.variation == 0
    assert next(network.seconds, None) is None, "every pass was made"
    assert {seen[:2] for seen in network.seen} == {((7, 1, 2, 3), False)}


def test_the_least_of_the_rounds_counts_and_their_variation_is_told(clock):
    rounds = [[0.3, 0.3], [0.1, 0.1], [0.2, 0.2]]
    network = clock(Slow([0.01] * 3 + rounds[0] + [9.0] + rounds[1] + [9.0] + rounds[2]))
    measured = measure_latency(network, (1,), batch=1, repeats=6, rounds=3)
    assert measured.value == pytest.approx(100)
    assert measured.variation == pytest.approx(0.1 / 0.2)


def test_long_passes_are_few_but_one_a_round(clock):
    network = clock(Slow([60.0] * 100))
    assert measure_latency(network, (1,), batch=1, repeats=50, rounds=5).value == pytest.approx(60e3)
    assert len(network.seen) == 2 * 5


def test_threads_are_those_asked_for_and_put_back(clock):
    before = torch.get_num_threads()
    network = clock(Slow([0.1] * 100))
    measure_latency(network, (1,), batch=1, repeats=4, threads=before + 1)
    assert {seen[2] for seen in network.seen} == {before + 1}
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="mine"), undisturbed(before + 1):
        raise RuntimeError("mine")
    assert torch.get_num_threads() == before


def test_one_measures_at_a_time(clock, tmp_path):
    with undisturbed():
        (path,) = tmp_path.iterdir()
        with pytest.raises(Timeout), FileLock(path, timeout=0.01):
            raise AssertionError("two at once")
    with FileLock(path, timeout=0.01):
        pass


class Meter:
    """A meter that a network moves: millijoules by pass, shown in steps."""

    def __init__(self, network, by_pass, step):
        self.network, self.by_pass, self.step = network, by_pass, step

    def __call__(self):
        return len(self.network.seen) * self.by_pass // self.step * self.step


def test_energy_is_that_of_an_image_between_steps_of_the_meter(clock):
    network = clock(Slow([0.001] * 100_000))
    measured = measure_energy(network, (1,), Meter(network, 30, 600), batch=10, seconds=0.5, rounds=2)
    assert measured.value == pytest.approx(3.0), "rounds of whole steps, whatever the step"
    assert measured.variation == pytest.approx(0)
    assert len(network.seen) >= 2 * 500


def test_a_meter_that_stands_still_is_an_error(clock):
    network = clock(Slow([1.0] * 100))
    with pytest.raises(SpecError, match="did not move"):
        measure_energy(network, (1,), lambda: 5.0, batch=1, seconds=1.0)


class NvmlError(Exception):
    pass


def fake_nvml(reading):
    def total(handle):
        assert handle == "handle of GPU-12ab"
        return reading()

    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="12ab"))
    return torch.device("cuda", 0)


def test_the_meter_is_that_of_the_device(monkeypatch, gpu):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(iter([1, 2, 3]).__next__))
    meter = energy_meter(gpu)  # which reads it once, to see whether it can
    assert (meter(), meter()) == (2.0, 3.0)


def test_what_reports_no_energy_is_an_error(monkeypatch, gpu):
    def refuse():
        raise NvmlError("Not Supported")

    with pytest.raises(SpecError, match="NVIDIA GPU"):
        energy_meter(torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SpecError, match=r"energy needs pynvml: pip install 'moosearch\[energy\]'"):
        energy_meter(gpu)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(refuse))
    with pytest.raises(SpecError, match=r"does not report it \(NVML: Not Supported\)"):
        energy_meter(gpu)
