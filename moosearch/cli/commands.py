"""The commands by name. The module of a command is imported when the command is run, and not for `--help`."""

from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

COMMANDS = {
    "search": ("launch", "Launch a campaign, or go on with the same one."),
    "resume": (
        "launch",
        "Go on with an interrupted campaign, or make one longer; nothing is evaluated twice.",
    ),
    "train": (
        "launch",
        "Train one recipe outside a search; genes not chosen take their first option or middle value.",
    ),
    "init": ("init", "Write a search space file to start from, with comments."),
    "replay": ("replay", "Train a finished campaign again in the same order, and compare the fronts."),
    "status": ("status", "Say how far a campaign is, who runs it and what runs where."),
    "front": ("inspect", "Show the Pareto front: the members, with their objectives and genes."),
    "decide": ("inspect", "Say which members of the front the decision aids choose, and why."),
    "validate": ("spaces", "Check a search space file as a whole, without starting anything."),
    "list": (
        "spaces",
        "Say what can be named in a search space file, with parameters and defaults; shipped spaces too.",
    ),
    "evaluate": (
        "evaluate",
        "Accuracy under each attack and under the worst of them, of candidates or of an exported model.",
    ),
    "verify": (
        "verify",
        "Prove robustness image by image: certified accuracy, under the accuracy that attacks leave.",
    ),
    "neighborhoods": (
        "neighborhoods",
        "Find how far one of two objects, and layers of pixels around it, may change: maximal neighborhoods.",
    ),
    "detect": (
        "detect",
        "Detect adversarial images by feature squeezing, and attack the detector too (Xu et al. 2018).",
    ),
    "confirm": (
        "confirm",
        "Train the front's recipes again with fresh seeds and judge them on test images; or go on with it.",
    ),
    "export": (
        "export",
        "Export a model: weights, ONNX, torch.export program, network.py, manifest, model card.",
    ),
    "predict": ("predict", "Classify images with an exported model; it needs onnxruntime alone."),
    "report": (
        "report",
        "Write a report: one HTML file with front, decisions, confirmation and all candidates.",
    ),
    "dashboard": (
        "dashboard",
        "Show a campaign in Optuna's dashboard, with notes and pictures, and its report at /report.",
    ),
    "compare": (
        "compare",
        "Set campaigns side by side: hypervolume, IGD+, coverage, tests of differences, and one front of "
        "all.",
    ),
    "doctor": (
        "doctor",
        "Check whether a campaign can run here, and say what to do; 0 if nothing failed, else 1.",
    ),
    "analyze": ("analyze", "Measure datasets, perturbations and trained candidates."),
}
"""Name -> module in `moosearch.cli` that registers it, and the line about it in `--help`, in this order."""


class Commands(TyperGroup):
    """All commands: those whose module was imported, and a stand-in for each other."""

    def __init__(self, **settings: Any) -> None:
        """Take the commands that are registered so far."""
        super().__init__(**settings)
        self.commands = {name: self.commands.get(name) or StandIn(name) for name in COMMANDS}


class StandIn(TyperCommand):
    """A command of which name and help line are known; it hands over to the command when it is run."""

    def __init__(self, name: str) -> None:
        """Take the name of one of `COMMANDS`."""
        self.module, line = COMMANDS[name]
        self.known_as = name
        super().__init__(name, help=line)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Import the command, which registers it with the application, and let it parse its arguments."""
        module = import_module(f"moosearch.cli.{self.module}")
        command = get_group(module.app).commands[self.known_as]
        return command.make_context(info_name, args, *rest, **extra)
