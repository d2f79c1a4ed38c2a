"""Without a library that only some users need: one line, exit code 2, before any work."""

import sys
from types import ModuleType

import pytest

from moosearch.errors import MissingExtraError
from moosearch.extras import EXTRAS, require


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_line_names_what_needs_it_and_what_installs_it(monkeypatch, extra):
    monkeypatch.setitem(sys.modules, EXTRAS[extra], ModuleType(EXTRAS[extra]))
    require("this", extra)
    monkeypatch.setitem(sys.modules, EXTRAS[extra], None)
    with pytest.raises(MissingExtraError) as caught:
        require("this", extra)
    assert str(caught.value) == f"this needs {EXTRAS[extra]}: pip install 'moosearch[{extra}]'."
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("command", ["verify", "neighborhoods"])
def test_proofs_without_their_solver(monkeypatch, cli, tmp_path, command):
    """There is no campaign in the folder: it is not even looked for."""
    monkeypatch.setitem(sys.modules, "highspy", None)
    code, out, err = cli(command, tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"moosearch {command} needs highspy: pip install 'moosearch[verify]'." in err
    code, _, err = cli(command, tmp_path, "--bounds-only")
    assert code == 2
    assert "highspy" not in err, "bounds do without it"


@pytest.mark.parametrize("time_limit", [0, 5])
def test_a_search_with_proofs_without_the_solver(monkeypatch, cli, tiny, tmp_path, time_limit):
    import yaml

    monkeypatch.setitem(sys.modules, "highspy", None)
    tree = tiny()
    tree["campaign"]["objectives"].append({"name": "verified_fraction", "time_limit": time_limit})
    tree["candidate"]["architecture"] = {"name": "small_cnn", "width": 2, "depth": 2}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(tree))
    code, _, err = cli("validate", tmp_path / "s.yaml")
    assert code == (2 if time_limit else 0), err
    if time_limit:
        assert err.count("\n") == 1
        assert "objectives.3: time_limit needs highspy: pip install 'moosearch[verify]'." in err
