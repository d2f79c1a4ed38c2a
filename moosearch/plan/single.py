"""One recipe of a search space: every gene filled, trained as a campaign of a single candidate."""

from collections.abc import Mapping, Sequence
from typing import Any

from moosearch.errors import Place, SpecError, nearest
from moosearch.evaluation import Genome
from moosearch.plan.plan import Plan, make_plan
from moosearch.plan.reading import read
from moosearch.plan.recipes import middle, read_gene
from moosearch.plan.spec import FileSpec
from moosearch.registry import field_hints
from moosearch.space import Choice
from moosearch.space.files import Document, override, read_value
from moosearch.space.genes import Gene
from moosearch.training import CandidateSpec


def single(document: Document, assignments: Sequence[str]) -> Document:
    """Fill the genes of a search space file and make it the campaign of this one candidate.

    Args:
        document: A search space file.
        assignments: ``GENE=VALUE`` for any genes, by path (``training.loss=trades``); other paths override
            the file as in a search, and so does a mapping or a list. A gene that is not named takes its
            first option, or the middle of its range.

    Returns:
        The file of the campaign, called ``NAME-ID``.

    Raises:
        SpecError: A value is none of its gene's, or the file is wrong.
    """
    known = read(document).space.genes()
    genes: dict[str, tuple[str, str]] = {}
    others = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        name = path.strip().removeprefix("candidate.")
        if equals and name in known and isinstance(read_value(text, f"--set {assignment}"), dict | list):
            others.append(f"candidate.{name}={text}")  # a plug-in or a list in place of the gene
        elif equals and name in known:
            genes[name] = (assignment, text)
        else:
            others.append(_override(assignment, known))
    plan = make_plan(override(document, others))
    space = plan.space
    genome = {path: middle(gene) for path, gene in space.genes().items()}
    for name, (assignment, text) in genes.items():
        gene, where = space.genes().get(name), f"--set {assignment}"
        genome[name] = (
            text if gene is None else read_gene(gene, read_value(text, where), Place(shown=(where,)))
        )
    candidate = space.candidate(genome)
    for name, (assignment, _) in genes.items():
        if name not in candidate.genome:
            raise SpecError(
                f"--set {assignment}: this gene is not active: choose the option it belongs to as well."
            )
    for assignment in others:
        _check_active(assignment, space.genes(), candidate.genome)
    return Document(_tree(plan, candidate.id, candidate.spec), Place(document.place.file))


def _tree(plan: Plan, identity: str, spec: Any) -> dict[str, Any]:
    tree = plan.to_tree()
    campaign = tree["campaign"] | {
        "name": f"{plan.campaign.name}-{identity}",
        "budget": {"population": 1, "generations": 1},
        "algorithm": "random",
        "evaluator": "serial",
        "keep": "all",
        "initial": [],
        "confirmation": tree["campaign"]["confirmation"] | {"at_end": False},
    }
    return tree | {"campaign": campaign, "candidate": spec}


FIXED = ("algorithm", "budget", "evaluator", "initial", "keep", "name")
"""Keys of a campaign that have no choice where there is one candidate, trained here."""


def _check_active(assignment: str, genes: Mapping[str, Gene], genome: Genome) -> None:
    """Refuse to override what lies under an option that was not chosen."""
    path = assignment.partition("=")[0].removeprefix("candidate.")
    for choice, gene in genes.items():
        for label in gene.labels if isinstance(gene, Choice) and choice in genome else ():
            if f"{path}.".startswith(f"{choice}.{label}.") and label != genome[choice]:
                raise SpecError(f"--set {assignment}: not active: choose {choice}={label} as well.")


def _override(assignment: str, genes: Mapping[str, Gene]) -> str:
    """Return an assignment with its path from the root of the file; ``candidate.`` may be left out."""
    path = assignment.partition("=")[0].strip()
    root, _, rest = path.partition(".")
    if root in field_hints(CandidateSpec):
        return f"candidate.{assignment}"
    if root not in field_hints(FileSpec):
        raise SpecError(f"--set {assignment}: nothing is called '{path}'. {nearest(path, genes)}")
    if root == "campaign" and rest.partition(".")[0] in FIXED:
        raise SpecError(
            f"--set {assignment}: one recipe is trained in this process and kept; not with `train`."
        )
    return assignment
