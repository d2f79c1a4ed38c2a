"""Addresses, runtime environments and tokens are checked before anything is written."""

import socket

import pytest

import moosearch
from moosearch.errors import CampaignError, SpecError
from moosearch.evaluators import Resources
from moosearch.evaluators.ray_pool import RayPool
from moosearch.evaluators.ray_settings import MASK, filled, parse


@pytest.fixture
def closed_port():
    """A port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "expected"), [("auto", None), ("10.0.0.1:6379", ("10.0.0.1", 6379)), ("[::1]:1", ("::1", 1))]
)
def test_addresses(address, expected):
    assert parse(address) == expected


@pytest.mark.parametrize("address", ["10.0.0.1", ":6379", "host:port", "host:0", "host:65536"])
def test_other_addresses_are_refused(address):
    with pytest.raises(SpecError, match="host:port"):
        RayPool(address=address)


def test_rays_client_is_refused():
    with pytest.raises(SpecError, match="cannot stream"):
        RayPool(address="ray://10.0.0.1:10001")


def test_nothing_is_written_where_nobody_answers(space, tmp_path, closed_port):
    with pytest.raises(CampaignError, match=f"nobody answers at 127.0.0.1:{closed_port}"):
        moosearch.search(
            space,
            out=tmp_path / "c",
            overrides=[f"campaign.evaluator={{name: ray, address: '127.0.0.1:{closed_port}'}}"],
        )
    assert not (tmp_path / "c").exists()


def test_auto_looks_where_ray_was_told_to(monkeypatch, closed_port):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(CampaignError, match=str(closed_port)):
        RayPool(address="auto").check(Resources())


@pytest.mark.parametrize(
    ("runtime_env", "message"),
    [
        ({"pips": ["x"]}, "Did you mean 'pip'"),
        ({"env_vars": ["A"]}, "a mapping of names to texts"),
        ({"env_vars": {"A": 1}}, "env_vars.A: expected a text"),
    ],
)
def test_wrong_runtime_environments_are_refused(runtime_env, message):
    with pytest.raises(SpecError, match=message):
        RayPool(runtime_env=runtime_env)


def test_a_secret_comes_from_the_environment(monkeypatch):
    runtime_env = {"pip": ["x"], "env_vars": {"A": "a", "SECRET": MASK}}
    monkeypatch.delenv("SECRET", raising=False)
    with pytest.raises(CampaignError, match="set the environment variable SECRET"):
        RayPool(runtime_env=runtime_env).check(Resources())
    monkeypatch.setenv("SECRET", "s")
    RayPool(runtime_env=runtime_env).check(Resources())
    assert filled(runtime_env) == {"pip": ["x"], "env_vars": {"A": "a", "SECRET": "s"}}
    assert filled({}) == {}


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_token_file_must_hold_one(monkeypatch, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    with pytest.raises(CampaignError, match="RAY_AUTH_TOKEN_PATH"):
        RayPool(address="auto").check(Resources())
