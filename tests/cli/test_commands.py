"""The table of commands, and the commands themselves."""

import pkgutil
from importlib import import_module

import pytest
from typer.main import get_group

import moosearch.cli
from moosearch.cli.app import app
from moosearch.cli.commands import COMMANDS, StandIn


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says_of_itself(name):
    module, line = COMMANDS[name]
    import_module(f"moosearch.cli.{module}")
    command = get_group(app).commands[name]
    assert not isinstance(command, StandIn), f"moosearch.cli.{module} does not register {name}"
    assert " ".join(command.help.split("\n\n")[0].split()) == line


def test_every_registered_command_is_in_the_table():
    for module in pkgutil.iter_modules(moosearch.cli.__path__):
        import_module(f"moosearch.cli.{module.name}")
    groups = {group.name for group in app.registered_groups}
    named = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert named | groups == COMMANDS.keys()


def test_a_command_that_was_not_imported_is_suggested(cli):
    code, _, err = cli("serch", "digits")
    assert code == 2
    assert "Did you mean 'search'?" in err
