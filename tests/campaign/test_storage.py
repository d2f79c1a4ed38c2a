"""Where a study lies, and that nothing secret is written down; `test_postgresql` asks a real server."""

import builtins
import sqlite3

import optuna
import pytest

import moosearch
from moosearch.campaign import storage
from moosearch.campaign.folder import CampaignFolder
from moosearch.campaign.passwords import comparable, masked, masked_text
from moosearch.campaign.storage import JOURNAL, PASSWORD, Storage, cause, check
from moosearch.errors import CampaignError

pytestmark = pytest.mark.rotated(2, group="storage")  # whole campaigns

SECRET = "s3cr%2Ft"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(storage, "_given", {})
    monkeypatch.delenv(PASSWORD, raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://u:s3cret@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        ("mysql+pymysql://u:s3c:r/e?t@h/db", "mysql+pymysql://u:***@h/db"),
        ("postgresql://u:s3@cret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:s3cret@h/db?application_name=a@b", "postgresql://u:***@h/db?application_name=a@b"),
        ("postgresql://:s3cret@h/db", "postgresql://:***@h/db"),
        (
            "postgresql:///db?host=/tmp&user=u&password=s3cret",
            "postgresql:///db?host=/tmp&user=u&password=***",
        ),
        (
            "postgresql://u@h/db?sslkey=k&sslpassword=s3cret&x=1",
            "postgresql://u@h/db?sslkey=k&sslpassword=***&x=1",
        ),
        ("https://u:s3cret@tracker:5000", "https://u:***@tracker:5000"),
        ("https://s3cret@tracker/x", "https://***@tracker/x"),
        ("cannot reach postgresql://u:s3cret@h/db, sorry", "cannot reach postgresql://u:***@h/db, sorry"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://u:***@h/db", "postgresql://u:***@h/db"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
        ("me@example.org: 1", "me@example.org: 1"),
    ],
)
def test_passwords_are_masked(text, shown):
    assert masked_text(text) == shown
    assert masked_text(shown) == shown


def test_a_tree_is_masked_and_left_alone():
    tree = {
        "campaign": {
            "storage": "postgresql://u:s3cret@h/db",
            "evaluator": {"name": "ray", "runtime_env": {"env_vars": {"TOKEN": "s3cret"}, "pip": ["a"]}},
            "trackers": [{"name": "mlflow", "uri": "https://u:s3cret@h"}],
            "seed": 1,
        },
        "candidate": {"lr": 0.1},
    }
    found = masked(tree)
    assert "s3cret" not in str(found)
    assert found["campaign"]["evaluator"]["runtime_env"] == {"env_vars": {"TOKEN": "***"}, "pip": ["a"]}
    assert found["candidate"] == tree["candidate"]
    assert tree["campaign"]["storage"] == "postgresql://u:s3cret@h/db"
    assert masked(found) == found


def test_passwords_do_not_make_another_campaign():
    urls = [
        "postgresql://u:a@h/db",
        "postgresql://u:***@h/db",
        "postgresql://u@h/db",
        "postgresql://u:b@h/db",
    ]
    trees = [comparable({"campaign": {"storage": url}}) for url in urls]
    assert all(tree == trees[0] for tree in trees)
    assert comparable({"campaign": {"storage": "postgresql://u@other/db"}}) != trees[0]


@pytest.mark.parametrize(
    ("setting", "password", "expected"),
    [
        ("postgresql://u@h/db", "pw", "postgresql+psycopg://u:pw@h/db"),
        ("postgresql+psycopg2://u:***@h/db", "p/w", "postgresql+psycopg2://u:p%2Fw@h/db"),
        ("mysql://u:mine@h/db", "pw", "mysql+pymysql://u:mine@h/db"),
        ("postgresql://h/db?user=u&password=***", "pw", "postgresql+psycopg://h/db?password=pw&user=u"),
        ("postgresql://h/db", "pw", "postgresql+psycopg://h/db"),
        ("postgresql://u@h/db", "", "postgresql+psycopg://u@h/db"),
    ],
)
def test_a_missing_password_comes_from_the_environment(monkeypatch, setting, password, expected):
    monkeypatch.setenv(PASSWORD, password)
    assert storage._connection(setting)[0] == expected


def test_a_password_that_was_given_is_known_for_as_long_as_the_process_lives(monkeypatch):
    with pytest.raises(CampaignError, match=PASSWORD):
        storage._connection("postgresql://u:***@h/db")
    storage._connection("postgresql://u:s3cret@h/db")
    assert storage._connection("postgresql://u:***@h/db")[0] == "postgresql+psycopg://u:s3cret@h/db"
    assert cause(RuntimeError("no 's3cret'\nhere.")) == "no '***' here"


@pytest.mark.parametrize(
    "setting", ["nonsense", "sqlite", "redis://h", "s3://bucket", "://", "postgresql://u:s3cret@h:x/d"]
)
def test_what_is_no_storage_is_refused_in_one_line(setting):
    with pytest.raises(
        CampaignError, match="expected nothing, `journal`, or the URL of a database"
    ) as caught:
        check(setting)
    assert "s3cret" not in str(caught.value)


def test_a_database_in_memory_is_refused():
    with pytest.raises(CampaignError, match="keeps nothing"):
        check("sqlite://")


@pytest.mark.parametrize(("dialect", "package"), [("postgresql", "psycopg"), ("mysql", "pymysql")])
def test_a_missing_driver_is_named_with_its_extra(monkeypatch, dialect, package, tiny, tmp_path, cli):
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.split(".")[0] == package and not (arguments[3:] and arguments[3]):
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    url = f"{dialect}://u:s3cret@localhost/db"
    with pytest.raises(CampaignError) as caught:
        moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.name=t", f"campaign.storage={url}"])
    assert f"pip install 'moosearch[{dialect}]'" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_a_server_that_does_not_answer_is_told_before_anything_is_written(tiny, tmp_path, dialect):
    url = f"{dialect}://u:s3cret@127.0.0.1:1/db"
    with pytest.raises(CampaignError, match="cannot be opened") as caught:
        moosearch.search(tiny(), out=tmp_path / "c", overrides=["campaign.name=t", f"campaign.storage={url}"])
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_campaigns_share_a_database(tiny, tmp_path, finished, cli):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    common = [f"campaign.storage={url}", "campaign.keep=all"]
    one = moosearch.search(tiny(), out=tmp_path / "one", overrides=["campaign.name=one", *common])
    two = moosearch.search(
        tiny(), out=tmp_path / "two", overrides=["campaign.name=two", "campaign.seed=4", *common]
    )
    assert set(optuna.get_all_study_names(url)) == {"one", "two"}
    assert one.folder.front.read_text() == finished.folder.front.read_text()
    assert one.header.seed == 3
    assert two.header.seed == 4
    assert not list(tmp_path.glob("*/study.*"))
    for command in ("status", "front"):
        assert cli(command, tmp_path / "one")[0] == 0
    overrides = ["campaign.name=one", *common]
    with pytest.raises(CampaignError, match="belongs to the campaign of another folder"):
        moosearch.search(tiny(), out=tmp_path / "three", overrides=overrides)
    # A study there that was edited is made again, and no other one is touched.
    with sqlite3.connect(tmp_path / "shared.db") as database:
        database.execute("UPDATE trial_values SET value = 0.99 WHERE trial_id = 2 AND objective = 0")
    database.close()
    moosearch.resume(tmp_path / "one")
    for campaign in (one, two):
        study = optuna.load_study(study_name=campaign.header.name, storage=url)
        found = {trial.user_attrs["candidate"]: trial.values for trial in study.trials}
        assert found == {e.candidate.id: [*e.objectives.values()] for e in campaign.evaluations}
    # Who reads needs no database, and one that was lost as a whole is filled again.
    (tmp_path / "shared.db").unlink()
    assert cli("status", tmp_path / "one")[0] == 0
    assert not (tmp_path / "shared.db").exists()
    again = moosearch.resume(tmp_path / "one")
    assert [e.candidate for e in again.evaluations] == [e.candidate for e in one.evaluations]
    assert optuna.get_all_study_names(url) == ["one"]
    assert len(optuna.load_study(study_name="one", storage=url).trials) == len(one.evaluations)


def test_a_study_of_somebody_else_is_left_alone(tiny, tmp_path):
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    optuna.create_study(storage=url, study_name="tiny").enqueue_trial({"x": 1})
    before = (tmp_path / "theirs.db").read_bytes()
    with pytest.raises(CampaignError, match="another campaign"):
        moosearch.search(
            tiny(), out=tmp_path / "c", overrides=["campaign.name=tiny", f"campaign.storage={url}"]
        )
    assert (tmp_path / "theirs.db").read_bytes() == before


def test_a_reader_writes_nothing(tmp_path):
    folder = CampaignFolder(tmp_path)
    for setting, path in (("", folder.study), (JOURNAL, folder.journal)):
        with pytest.raises(CampaignError, match="missing"):
            Storage(setting, folder).open(writing=False)
        assert not path.exists()
    folder.study.touch()
    with pytest.raises(CampaignError):
        Storage("", folder).open(writing=False)
    assert folder.study.stat().st_size == 0
    assert Storage("", folder).damage() == ""
    folder.study.write_bytes(b"x" * 5000)
    assert Storage("", folder).damage()
    with sqlite3.connect(tmp_path / "good.db") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    assert Storage("", folder).at(tmp_path / "good.db").damage() == ""
