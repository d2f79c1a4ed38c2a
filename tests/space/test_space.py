"""The search space: specs with holes, filled by genomes."""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import SpecError
from moosearch.registry import Count, NonNegative, Number, Positive, Registry, build, late, to_tree
from moosearch.space import Choice, Integer, Real, SearchSpace, candidate_id
from moosearch.space.files import dump, override, parse

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
ATTACKS: Registry[object] = Registry("attack")
STARTS: Registry[object] = Registry("start")


@STARTS.register("zero")
@dataclass(frozen=True)
class Zero:
    pass


@STARTS.register("uniform")
@dataclass(frozen=True)
class Uniform:
    radius: Positive = 1.0


@ATTACKS.register("pgd")
@dataclass(frozen=True)
class Pgd:
    eps: NonNegative = 8 / 255
    steps: Count = 5


@ATTACKS.register("mixed")
@dataclass(frozen=True)
class Mixed:
    alpha0_min: Number = 0.5
    start: Annotated[object, STARTS] = Zero()


@dataclass(frozen=True)
class Training:
    attack: Annotated[object, ATTACKS] = Pgd()
    lr: Positive = 0.1
    schedule: Literal["constant", "one_cycle"] = "constant"


@dataclass(frozen=True)
class Spec:
    width: Count = 8
    training: Training = Training()
    tasks: tuple[str, ...] = ()
    weights: tuple[Number, ...] = (0.5, 0.5)


def space_of(text):
    """Return the space of a file with `candidate:` at line 1."""
    document = parse(text if text.startswith("candidate") else f"candidate: {text}", "a.yaml")
    return SearchSpace.parse(document.data["candidate"], Spec, document.place.child("candidate"))


def filled(node):
    return SearchSpace.parse(node, Spec).candidate({})


NESTED = """\
candidate:
  width: {choice: [4, 8]}
  training:
    attack:
      choice:
      - {name: pgd, eps: {choice: [0.1, 8/255]}, steps: {integer: [1, 7, 3]}}
      - name: mixed
        alpha0_min: {choice: [0, 0.5, 0.9]}
        start: {choice: [zero, {name: uniform, radius: {integer: [1, 2]}}]}
"""


# Candidates and their ids


def test_defaults_are_written_out():
    assert filled({}).spec == to_tree(Spec(), Spec)
    assert filled({"training": {"attack": "mixed"}}).spec["training"] == {
        "attack": {"name": "mixed", "alpha0_min": 0.5, "start": {"name": "zero"}},
        "lr": 0.1,
        "schedule": "constant",
    }


@dataclass(frozen=True)
class Grown(Spec):
    sharpness: Positive = late(10.0)
    training_of_more: Training = late(Training())


def test_a_late_field_changes_no_candidate_that_does_not_use_it():
    def grown(node):
        return SearchSpace.parse(node, Grown).candidate({"sharpness": 10.0})

    old = filled({"width": 4})
    for node in ({}, {"sharpness": 10}, {"training_of_more": {"lr": 0.1}}, {"training_of_more": {}}):
        assert grown({"width": 4} | node) == old
    assert grown({"width": 4, "sharpness": 11}).id != old.id
    for node in ({"sharpness": {"real": [1, 20]}}, {"training_of_more": {"lr": {"choice": [0.1]}}}):
        genome = {"sharpness": 10.0, "training_of_more.lr": 0.1}
        candidate = SearchSpace.parse({"width": 4} | node, Grown).candidate(genome)
        assert candidate.id == old.id, "the same recipe, be it written with genes"
        assert candidate.genome, "which stay in it"
        assert candidate.spec != old.spec
        assert candidate_id(to_tree(build(Grown, candidate.spec), Grown)) == candidate.id


@pytest.mark.parametrize(
    "node",
    [
        {"training": {"attack": "pgd"}},
        {"training": {"attack": {"name": "pgd"}}},
        {"training": {"attack": {"steps": 5, "eps": "8/255", "name": "pgd"}, "lr": "1e-1"}, "width": 8},
        {"weights": ["1/2", 0.5]},
        to_tree(Spec(), Spec),
    ],
)
def test_short_forms_and_written_defaults_are_the_same_candidate(node):
    assert filled(node).id == filled({}).id


@pytest.mark.parametrize(
    "node", [{"width": 9}, {"training": {"attack": {"name": "pgd", "eps": 0.03}}}, {"tasks": ["a"]}]
)
def test_another_value_is_another_candidate(node):
    assert filled(node).id != filled({}).id


def test_the_id_is_12_hexadecimal_digits_and_does_not_depend_on_the_order_of_keys():
    assert candidate_id({"a": 1, "b": [1, 2]}) == candidate_id({"b": [1.0, 2.0], "a": 1.0})
    assert candidate_id({"a": [1, 2]}) != candidate_id({"a": [2, 1]})
    assert len(candidate_id({})) == 12
    int(candidate_id({}), 16)


@pytest.mark.parametrize("pair", [(1, "1"), (1, 1.5), (True, "true"), (None, "None"), ([], {})])
def test_values_of_different_kinds_have_different_ids(pair):
    first, second = pair
    assert candidate_id({"a": first}) != candidate_id({"a": second})


@pytest.mark.parametrize("text", ["8/255", "1e-3", "0.1", "3", "2e0", ".5"])
def test_numbers_may_be_written_as_people_write_them(text):
    candidate = space_of(f"{{training: {{lr: {text}}}}}").candidate({})
    number = candidate.spec["training"]["lr"]
    assert type(number) is float
    assert number == (8 / 255 if "/" in text else float(text))


def test_a_filled_spec_builds():
    space = space_of(NESTED)
    for genome in space.enumerate():
        candidate = space.candidate(genome)
        spec = build(Spec, candidate.spec)
        assert candidate_id(to_tree(spec, Spec)) == candidate.id


# Genes


def test_genes_are_found_by_path_with_parents_first_and_labels_in_the_path():
    assert list(space_of(NESTED).genes()) == [
        "width",
        "training.attack",
        "training.attack.pgd.eps",
        "training.attack.pgd.steps",
        "training.attack.mixed.alpha0_min",
        "training.attack.mixed.start",
        "training.attack.mixed.start.uniform.radius",
    ]


@pytest.mark.parametrize(
    ("text", "path", "gene"),
    [
        ("{width: {integer: [4, 32]}}", "width", Integer(4, 32)),
        ("{width: {integer: [4, 32, 4]}}", "width", Integer(4, 32, 4)),
        ("{width: {log_integer: [1, 64]}}", "width", Integer(1, 64, log=True)),
        ("{width: {choice: [4, 8]}}", "width", Choice((4, 8), (4, 8))),
        ("{training: {lr: {real: [1/8, 1e-0]}}}", "training.lr", Real(0.125, 1.0)),
        ("{training: {lr: {log_real: [1e-4, 1]}}}", "training.lr", Real(1e-4, 1.0, log=True)),
        ("{training: {lr: {integer: [1, 3]}}}", "training.lr", Integer(1, 3)),
        ("{training: {lr: {choice: [1e-2, 8/255, 1]}}}", "training.lr", Choice(*[(0.01, 8 / 255, 1.0)] * 2)),
        (
            "{training: {schedule: {choice: [constant, one_cycle]}}}",
            "training.schedule",
            Choice(*[("constant", "one_cycle")] * 2),
        ),
        ("{weights: [0.5, {real: [0, 1]}]}", "weights.1", Real(0.0, 1.0)),
        (
            "{tasks: {choice: [[], [a], [a, b]]}}",
            "tasks",
            Choice(("none", "a", "a+b"), ([], ["a"], ["a", "b"])),
        ),
    ],
)
def test_genes_are_parsed_wherever_a_value_may_stand(text, path, gene):
    assert space_of(text).genes() == {path: gene}


def test_labels_tell_options_of_one_name_apart():
    space = space_of(
        "{training: {attack: {choice: ["
        "{name: pgd, label: weak, eps: {real: [0, 0.1]}}, {name: pgd, eps: 0.2}]}}}"
    )
    assert list(space.genes()) == ["training.attack", "training.attack.weak.eps"]
    weak = space.candidate({"training.attack": "weak", "training.attack.weak.eps": 0.05})
    assert weak.spec["training"]["attack"] == {"name": "pgd", "eps": 0.05, "steps": 5}


def test_only_active_genes_are_in_the_genome_and_in_the_id():
    space = space_of(NESTED)
    genome = {
        "width": 4,
        "training.attack": "mixed",
        "training.attack.pgd.eps": 0.1,
        "training.attack.pgd.steps": 1,
        "training.attack.mixed.alpha0_min": 0.9,
        "training.attack.mixed.start": "zero",
        "training.attack.mixed.start.uniform.radius": 1,
    }
    candidate = space.candidate(genome)
    assert candidate.genome == space.active(genome)
    assert list(candidate.genome) == [
        "width",
        "training.attack",
        "training.attack.mixed.alpha0_min",
        "training.attack.mixed.start",
    ]
    inactive = {"training.attack.pgd.steps": 7, "training.attack.mixed.start.uniform.radius": 2}
    assert space.candidate(genome | inactive).id == candidate.id
    assert space.candidate(candidate.genome) == candidate
    assert space.candidate(genome | {"training.attack.mixed.alpha0_min": 0.5}).id != candidate.id


def test_an_active_gene_needs_a_value():
    with pytest.raises(KeyError, match=r"training\.attack\.mixed\.alpha0_min"):
        space_of(NESTED).candidate({"width": 4, "training.attack": "mixed"})


def test_choices_that_contain_nothing_but_a_choice_nest():
    text = "{training: {attack: {choice: [{label: a, choice: [pgd, mixed]}, {name: pgd, eps: 1, label: b}]}}}"
    space = space_of(text)
    assert space.size == len({space.candidate(genome).id for genome in space.enumerate()}) == 3


def test_a_space_may_be_a_choice_at_its_root():
    space = space_of("{choice: [{label: a, width: 4}, {label: b, width: {integer: [5, 6]}}]}")
    assert sorted(space.candidate(g).spec["width"] for g in space.enumerate()) == [4, 5, 6]


def test_options_that_become_the_same_number_are_refused():
    with pytest.raises(SpecError, match="two options are called"):
        space_of("{training: {lr: {choice: [1/2, 0.5]}}}")


# Size, enumeration, corners


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("{}", 1),
        ("{width: {integer: [1, 10, 4]}}", 3),
        ("{width: {choice: [1, 2]}, training: {lr: {integer: [1, 3]}}}", 6),
        ("{training: {lr: {real: [1, 2]}}}", math.inf),
        ("{training: {lr: {real: [2, 2]}}}", 1),
        ("{training: {attack: {choice: [mixed, {name: pgd, eps: {real: [0, 1]}}]}}}", math.inf),
        # width 2 x (pgd: eps 2 x steps 3, mixed: alpha 3 x (zero 1 + uniform 2))
        (NESTED, 2 * (2 * 3 + 3 * (1 + 2))),
    ],
)
def test_size_counts_candidates(text, size):
    assert space_of(text).size == size


def test_enumeration_counts_the_last_gene_fastest():
    space = space_of("{width: {integer: [4, 8, 4]}, training: {lr: {choice: [1, 2]}}}")
    assert [tuple(genome.values()) for genome in space.enumerate()] == [(4, 1), (4, 2), (8, 1), (8, 2)]


def test_a_real_gene_cannot_be_enumerated():
    with pytest.raises(ValueError, match=r"training\.lr is real"):
        list(space_of("{training: {lr: {real: [1, 2]}}}").enumerate())


def test_corners_show_every_option_with_high_and_low_numbers():
    space = space_of(
        """\
candidate:
  width: {integer: [4, 32]}
  training:
    attack:
      choice:
      - {name: pgd, eps: {log_real: [0.1, 0.2]}}
      - name: mixed
        alpha0_min: {real: [0, 1]}
        start: {choice: [zero, {name: uniform, radius: {real: [1, 2]}}]}
"""
    )
    genomes = space.corners()
    mixed, start = "training.attack.mixed.alpha0_min", "training.attack.mixed.start"
    for high in (False, True):
        width, number = (32, 1.0) if high else (4, 0.0)
        eps, radius = (0.2, 2.0) if high else (0.1, 1.0)
        for genome in (
            {"width": width, "training.attack": "pgd", "training.attack.pgd.eps": eps},
            {"width": width, "training.attack": "mixed", mixed: number, start: "zero"},
            {"width": width, "training.attack": "mixed", mixed: number, start: "uniform"}
            | {f"{start}.uniform.radius": radius},
        ):
            assert genome in genomes
    assert len(genomes) == 6


def test_a_space_without_genes_has_one_corner():
    assert space_of("{}").corners() == [{}]


def test_corners_lie_on_the_steps_of_integers():
    space = space_of("{width: {integer: [4, 11, 3]}}")
    assert sorted(genome["width"] for genome in space.corners()) == [4, 10]


# Properties of random spaces

FRACTIONS = ["8/255", "1/3", "1e-3", 0.5, 0.1, 1]


@st.composite
def bounds(draw, tags, low, high):
    tag = draw(st.sampled_from(tags))
    kind = st.integers(low, high) if "integer" in tag else st.integers(low * 8, high * 8).map(lambda n: n / 8)
    numbers = sorted([draw(kind), draw(kind)])
    return {tag: [*numbers, draw(st.integers(1, 3))] if tag == "integer" else numbers}


def chosen(options):
    return st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True).map(
        lambda o: {"choice": o}
    )


def mapping(**fields):
    """Mappings with some of the fields, and always with the name."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return st.fixed_dictionaries(name, optional=fields)


@st.composite
def chosen_plug_ins(draw, *plug_ins):
    nodes = [draw(node) for node in draw(st.permutations(plug_ins))[: draw(st.integers(1, len(plug_ins)))]]
    nodes = [{"label": f"option{i}", **n} if draw(st.booleans()) else n for i, n in enumerate(nodes)]
    return {"choice": nodes}


def spaces(*, finite=False):
    real = ["integer", "log_integer"] + ([] if finite else ["real", "log_real"])
    numbers = bounds(real, 1, 4) | chosen(FRACTIONS) | st.sampled_from(FRACTIONS)
    counts = bounds(["integer", "log_integer"], 1, 4) | chosen([1, 2, 3]) | st.integers(1, 3)
    start = chosen_plug_ins(
        mapping(name=st.just("zero")), mapping(name=st.just("uniform"), radius=numbers)
    ) | st.sampled_from(["zero", "uniform"])
    pgd = mapping(name=st.just("pgd"), eps=numbers, steps=counts)
    mixed = mapping(name=st.just("mixed"), alpha0_min=numbers, start=start)
    attack = chosen_plug_ins(pgd, mixed) | pgd | mixed
    schedule = chosen(["constant", "one_cycle"])
    training = mapping(attack=attack, lr=numbers, schedule=schedule)
    tasks = st.sampled_from([["a"], {"choice": [["a"], ["a", "b"]]}])
    return mapping(width=counts, training=training, tasks=tasks, weights=st.lists(numbers, max_size=2)).map(
        lambda node: SearchSpace.parse(node, Spec)
    )


@SETTINGS
@given(spaces(finite=True))
def test_size_and_enumeration_agree(space):
    if space.size <= 5000:
        genomes = list(space.enumerate())
        candidates = [space.candidate(genome) for genome in genomes]
        assert len({candidate.id for candidate in candidates}) == len(genomes) == space.size
        assert [candidate.genome for candidate in candidates] == genomes


@SETTINGS
@given(spaces(), st.integers(0, 2**32))
def test_samples_lie_within_the_genes(space, seed):
    genes, genome = space.genes(), space.sample(np.random.default_rng(seed))
    assert genome.keys() == genes.keys()
    assert all(genes[path].contains(value) for path, value in genome.items())
    build(Spec, space.candidate(genome).spec)


@SETTINGS
@given(spaces(), st.integers(0, 2**32))
def test_a_space_read_from_its_own_tree_has_the_same_candidates(space, seed):
    again = SearchSpace.parse(parse(dump(space.to_tree())).data, Spec)
    genome = space.sample(np.random.default_rng(seed))
    assert again.genes() == space.genes()
    assert again.candidate(genome) == space.candidate(genome)
    assert again.to_tree() == space.to_tree()


@SETTINGS
@given(spaces())
def test_corners_are_in_the_space_and_cover_every_option(space):
    genes, corners = space.genes(), space.corners()
    for genome in corners:
        assert all(genes[path].contains(value) for path, value in genome.items())
        assert space.active(genome) == genome
    for path, gene in genes.items():
        values = {genome[path] for genome in corners if path in genome}
        if isinstance(gene, Choice):
            assert values == set(gene.labels)
        else:
            assert {gene.low, gene.decode(gene.encode(gene.high))} == values
    assert len({space.candidate(genome).id for genome in corners}) == len(corners)


@SETTINGS
@given(spaces(), st.integers(0, 2**32))
def test_genomes_are_plain_and_survive_json(space, seed):
    candidate = space.candidate(space.sample(np.random.default_rng(seed)))
    assert all(type(value) in {str, int, float, bool} for value in candidate.genome.values())
    assert space.candidate(json.loads(json.dumps(candidate.genome))) == candidate


def test_labels_made_of_numbers_survive_the_tree():
    space = space_of("{weights: {choice: [[8/255, 1/2], [0.1]]}}")
    again = SearchSpace.parse(space.to_tree(), Spec)
    assert again.genes() == space.genes()


# Errors

LINES = """\
candidate:
  width: 8
  training:
    attack:
      choice:
      - pgd
      - name: mixed
        start: zero
    lr: 0.1
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "width: 8",
            "widht: 8",
            "a.yaml:2: candidate.widht: candidate has no parameter 'widht'. Did you mean 'width'",
        ),
        ("width: 8", "width: x", "a.yaml:2: candidate.width: got 'x', expected a valid integer."),
        ("width: 8", "width: 0", "a.yaml:2: candidate.width: got 0, expected at least 1."),
        ("width: 8", "width: {integer: [0, 4]}", "a.yaml:2: candidate.width: got 0, expected at least 1."),
        (
            "width: 8",
            "width: {real: [1, 4]}",
            "a.yaml:2: candidate.width: got {'real': [1, 4]}, but an integer st",
        ),
        (
            "width: 8",
            "width: {choice: [4, no]}",
            "a.yaml:2: candidate.width.no: got 'no', expected a valid int",
        ),
        (
            "width: 8",
            "width: {choice: []}",
            "a.yaml:2: candidate.width: got choice: [], expected a list of options.",
        ),
        ("width: 8", "width: {choice: [4, 4]}", "a.yaml:2: candidate.width: two options are called '4'."),
        (
            "width: 8",
            "width: {integer: [4, 2]}",
            "a.yaml:2: candidate.width: got integer: [4, 2], expected low <=",
        ),
        (
            "- pgd",
            "- pdg",
            "a.yaml:6: candidate.training.attack.pdg: no attack is called 'pdg'. Did you mean 'pgd'",
        ),
        (
            "name: mixed",
            "name: mixd",
            "a.yaml:7: candidate.training.attack.mixd.name: no attack is called 'mixd'. Did",
        ),
        (
            "start: zero",
            "start: one",
            "a.yaml:8: candidate.training.attack.mixed.start: no start is called 'one'.",
        ),
        (
            "start: zero",
            "strat: zero",
            "a.yaml:8: candidate.training.attack.mixed.strat: mixed has no parameter 'str",
        ),
        (
            "start: zero",
            "start: {radius: 1}",
            "a.yaml:8: candidate.training.attack.mixed.start: `name` is missing",
        ),
        (
            "start: zero",
            "start: {real: [0, 1]}",
            "a.yaml:8: candidate.training.attack.mixed.start: got {'real': [0,",
        ),
        (
            "start: zero",
            "start: 3",
            "a.yaml:8: candidate.training.attack.mixed.start: got 3, expected the name of some",
        ),
        (
            "- pgd",
            "- [pgd]",
            "a.yaml:6: candidate.training.attack.pgd: got ['pgd'], expected the name of some",
        ),
        (
            "- pgd",
            "- {name: pgd, eps: -1}",
            "a.yaml:6: candidate.training.attack.pgd.eps: got -1, expected at least",
        ),
        (
            "lr: 0.1",
            "lr: fast",
            "a.yaml:9: candidate.training.lr: got 'fast', expected a number or a fraction such as",
        ),
        (
            "lr: 0.1",
            "lr: {log_real: [0, 1]}",
            "a.yaml:9: candidate.training.lr: got log_real: [0, 1], expected low >",
        ),
        (
            "lr: 0.1",
            "lr: {choice: [1, -1]}",
            "a.yaml:9: candidate.training.lr.-1: got -1, expected more than 0.",
        ),
        ("lr: 0.1", "lr: .inf", "a.yaml:9: candidate.training.lr: got inf, expected a finite number."),
        (
            "lr: 0.1",
            "schedule: one_cycl",
            "a.yaml:9: candidate.training.schedule: got 'one_cycl', expected 'constan",
        ),
        ("width: 8", "tasks: a", "a.yaml:2: candidate.tasks: got 'a', expected a list."),
        (
            "width: 8",
            "tasks: {integer: [1, 2]}",
            "a.yaml:2: candidate.tasks: got {'integer': [1, 2]}, but no number",
        ),
        ("width: 8", "tasks: [a, 3]", "a.yaml:2: candidate.tasks.1: got 3, expected a valid string."),
    ],
)
def test_an_error_names_the_line_the_path_the_value_and_the_nearest_name(old, new, message):
    assert space_of(LINES).size == 2
    with pytest.raises(SpecError) as caught:
        space_of(LINES.replace(old, new))
    assert str(caught.value).startswith(message)


def test_what_is_wrong_under_an_option_that_comes_last_is_found():
    attacks = "[pgd, {name: mixed, start: {choice: [zero, {name: uniform, radius: 0}]}}]"
    with pytest.raises(SpecError, match=r"attack\.mixed\.start\.uniform\.radius: got 0"):
        space_of(f"{{training: {{attack: {{choice: {attacks}}}}}}}")


def test_an_error_in_an_override_names_the_override():
    assignment = "candidate.training.attack.mixed.start=noen"
    document = override(parse(LINES, "a.yaml"), [assignment])
    with pytest.raises(SpecError) as caught:
        SearchSpace.parse(document.data["candidate"], Spec, document.place.child("candidate"))
    assert str(caught.value).startswith(
        f"--set {assignment}: candidate.training.attack.mixed.start: no start is called 'noen'."
    )


def test_an_override_can_add_a_gene():
    document = override(parse(LINES), ["candidate.training.attack.mixed.alpha0_min={real: [0, 1/2]}"])
    space = SearchSpace.parse(document.data["candidate"], Spec)
    assert space.genes()["training.attack.mixed.alpha0_min"] == Real(0.0, 0.5)
