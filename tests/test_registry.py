"""Names and mappings become frozen dataclasses, or an error that says where and what was meant."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.errors import Place, SpecError
from moosearch.registry import (
    Count,
    NonNegative,
    Number,
    Positive,
    Registry,
    build,
    describe,
    late,
    to_tree,
    validate_leaf,
)

SHAPES: Registry[object] = Registry("shape")


@SHAPES.register("circle")
@dataclass(frozen=True)
class Circle:
    radius: Positive = 1.0


@SHAPES.register("box")
@dataclass(frozen=True)
class Box:
    width: Number
    height: Number = 1.0

    def __post_init__(self):
        if self.width < self.height:
            raise ValueError(f"width is {self.width:g}, expected at least height = {self.height:g}")


@SHAPES.register("pair")
@dataclass(frozen=True)
class Pair:
    left: Annotated[object, SHAPES] = Circle()
    right: Annotated[object, SHAPES] = Circle(2.0)


@dataclass(frozen=True)
class Drawing:
    shape: Annotated[object, SHAPES] = Circle()
    more: tuple[Annotated[object, SHAPES], ...] = ()
    color: Literal["black", "white"] = "black"
    copies: Count = 1
    margins: tuple[NonNegative, ...] = (0.0,)
    title: str = ""
    filled: bool = False


SHAPE = Annotated[object, SHAPES]


def test_registry_iterates_over_sorted_names():
    assert list(SHAPES) == ["box", "circle", "pair"]
    assert "box" in SHAPES
    assert "cone" not in SHAPES


def test_registered_class_and_its_name_find_each_other():
    assert SHAPES.get("circle") is Circle
    assert SHAPES.name_of(Circle()) == "circle"


@pytest.mark.parametrize("decorate", [lambda cls: cls, dataclass])
def test_only_frozen_dataclasses_can_be_registered(decorate):
    class Loose:
        pass

    with pytest.raises(ValueError, match="shape 'loose': Loose is not a frozen dataclass"):
        Registry("shape").register("loose")(decorate(Loose))


def test_a_name_cannot_be_taken_twice():
    registry = Registry("shape")
    registry.register("circle")(Circle)
    with pytest.raises(ValueError, match="shape 'circle' is registered already"):
        registry.register("circle")(Box)
    assert registry.get("circle") is Circle


def test_a_module_can_be_loaded_again():
    registry = Registry("shape")
    registry.register("circle")(Circle)
    assert registry.register("circle")(Circle) is Circle


@pytest.mark.parametrize("name", ["circel", None, 3, [], {"a": 1}])
def test_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(SpecError, match=r"no shape is called .*Known: box, circle, pair\."):
        SHAPES.get(name)


def test_unknown_name_gets_the_nearest_one():
    with pytest.raises(SpecError, match="Did you mean 'circle'"):
        build(SHAPE, "circel")


def test_a_bare_name_is_the_plug_in_with_its_defaults():
    assert build(SHAPE, "circle") == build(SHAPE, {"name": "circle"}) == Circle()


def test_plug_ins_nest():
    node = {"name": "pair", "left": "circle", "right": {"name": "pair", "left": {"name": "box", "width": 3}}}
    assert build(SHAPE, node) == Pair(Circle(), Pair(Box(3.0), Circle(2.0)))


def test_lists_become_tuples_of_what_the_hint_says():
    drawing = build(Drawing, {"more": ["circle", {"name": "box", "width": 2}], "margins": ["1/2", 1]})
    assert drawing.more == (Circle(), Box(2.0))
    assert drawing.margins == (0.5, 1.0)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"shape": {"name": "cirle"}}, "shape.name: no shape is called 'cirle'. Did you mean 'circle'?"),
        ({"shape": {"name": "circle", "radios": 1}}, "shape.radios: circle has no parameter 'radios'. Did"),
        ({"shape": {"radius": 1}}, "shape: `name` is missing: which shape? Known: box, circle, pair."),
        ({"shape": 3}, "shape: got 3, expected the name of some shape or a mapping with `name`."),
        ({"shape": {"name": "box"}}, "shape: `width` is missing: box needs it."),
        ({"shape": "box"}, "shape: `width` is missing: box needs it."),
        (
            {"shape": {"name": "circle", "radius": "six"}},
            "shape.radius: got 'six', expected a number or a fr",
        ),
        ({"shape": {"name": "circle", "radius": 0}}, "shape.radius: got 0, expected more than 0."),
        ({"shape": {"name": "box", "width": 0}}, "shape: width is 0, expected at least height = 1"),
        ({"more": ["circle", "cone"]}, "more.1: no shape is called 'cone'."),
        ({"more": "circle"}, "more: got 'circle', expected a list."),
        ({"color": "blak"}, "color: got 'blak', expected 'black' or 'white'. Did you mean 'black'?"),
        ({"copies": 0}, "copies: got 0, expected at least 1."),
        ({"copies": 2.5}, "copies: got 2.5, expected a valid integer."),
        ({"copies": True}, "copies: got True, expected a valid integer."),
        ({"margins": [0, -1]}, "margins.1: got -1, expected at least 0."),
        ({"title": 3}, "title: got 3, expected a valid string."),
        ({"filled": 1}, "filled: got 1, expected a valid boolean."),
        ({"colour": "black"}, "colour: Drawing has no parameter 'colour'. Did you mean 'color'?"),
        ({3: "black"}, "3: Drawing has no parameter '3'."),
        ([], "got [], expected a mapping of parameters of Drawing."),
    ],
)
def test_error_names_path_value_and_what_is_known(node, message):
    with pytest.raises(SpecError) as caught:
        build(Drawing, node)
    assert str(caught.value).startswith(message)


def test_error_names_everything_that_a_value_may_be():
    with pytest.raises(
        SpecError, match=r"got 'abc', expected a number or a fraction such as 8/255, or 'auto'"
    ):
        build(Number | Literal["auto"], "abc")
    with pytest.raises(SpecError, match=r"got -1, expected more than 0, or 'auto'"):
        build(Positive | Literal["auto"], -1)


def test_error_of_a_nested_plug_in_names_the_line():
    place = Place("a.yaml", {(): 1, ("right",): 2, ("right", "radius"): 5})
    with pytest.raises(SpecError, match=r"^a\.yaml:5: right\.radius: got -1"):
        build(SHAPE, {"name": "pair", "right": {"name": "circle", "radius": -1}}, place)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.fractions(min_value=-100, max_value=100, max_denominator=1000))
def test_fractions_are_numbers(fraction):
    text = f"{fraction.numerator}/{fraction.denominator}"
    assert validate_leaf(text, Number, Place()) == float(fraction)


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("1e-3", 0.001), ("2", 2.0), (3, 3.0), (-0.5, -0.5)]
)
def test_numbers_as_people_write_them(text, value):
    number = validate_leaf(text, Number, Place())
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize(
    "value", ["six", "", "1/0", "nan", "inf", "1e400", float("nan"), float("inf"), True, None, [1], {}]
)
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(SpecError, match=r"^eps: got .*expected"):
        validate_leaf(value, Number, Place().child("eps"))


def shapes():
    numbers = st.fractions(min_value=Fraction(1, 100), max_value=100).map(float)
    leaves = numbers.map(Circle) | st.builds(lambda low, more: Box(low + more, low), numbers, numbers)
    return st.recursive(leaves, lambda inner: st.builds(Pair, inner, inner), max_leaves=4)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    shape=shapes(), more=st.lists(shapes(), max_size=3), copies=st.integers(1, 9), title=st.text(max_size=5)
)
def test_to_tree_and_build_are_inverse(shape, more, copies, title):
    drawing = Drawing(shape=shape, more=tuple(more), copies=copies, title=title)
    assert build(Drawing, to_tree(drawing, Drawing)) == drawing


def test_to_tree_writes_names_and_defaults_as_plain_data():
    assert to_tree(Drawing(more=(Box(2.0),)), Drawing) == {
        "shape": {"name": "circle", "radius": 1.0},
        "more": [{"name": "box", "width": 2.0, "height": 1.0}],
        "color": "black",
        "copies": 1,
        "margins": [0.0],
        "title": "",
        "filled": False,
    }


def test_describe_lists_defaults_and_what_is_required():
    assert describe(Box) == "width: required\nheight: 1.0"
    assert describe(Pair).splitlines()[0] == 'left: {"name": "circle", "radius": 1.0}'


def test_fields_that_are_not_given_to_init_are_no_parameters():
    @dataclass(frozen=True)
    class Derived:
        width: Number = 1.0
        area: float = dataclasses.field(init=False, default=0.0)

    with pytest.raises(SpecError, match="has no parameter 'area'"):
        build(Derived, {"area": 2.0})
    assert to_tree(Derived(), Derived) == {"width": 1.0}


@dataclass(frozen=True)
class Grown:
    old: Number = 1.0
    new: Number = late(2.0)
    shape: Annotated[object, SHAPES] = late(Circle())


def test_a_late_field_is_written_only_where_it_is_not_its_default():
    assert to_tree(Grown(), Grown) == {"old": 1.0}
    assert to_tree(Grown(new=2.0, shape=Circle(1.0)), Grown) == {"old": 1.0}
    assert to_tree(Grown(new=3.0, shape=Circle(5.0)), Grown) == {
        "old": 1.0,
        "new": 3.0,
        "shape": {"name": "circle", "radius": 5.0},
    }
    assert build(Grown, {"new": "5/2"}) == Grown(new=2.5)


class Shape(Protocol):
    @property
    def rounded(self) -> bool:
        return False

    corners: ClassVar[int] = 0


def solids():
    return Registry("solid", protocol=Shape, optional=("rounded", "corners"))


def test_what_a_plug_in_leaves_out_it_gets_from_the_protocol():
    @solids().register("ball")
    @dataclass(frozen=True)
    class Ball:
        radius: float = 1.0

    assert (Ball().rounded, Ball().corners, Ball.corners) == (False, 0, 0)
    assert describe(Ball) == "radius: 1.0"
    assert Ball() == Ball(1.0)


def test_what_a_plug_in_states_stays():
    @dataclass(frozen=True)
    class Base:
        corners: ClassVar[int] = 8

    @solids().register("cube")
    @dataclass(frozen=True)
    class Cube(Base):
        rounded: bool  # a field without a default

    assert (Cube(rounded=True).rounded, Cube.corners) == (True, 8)


@pytest.mark.parametrize("bases", [(), (Shape,), (Circle,)])
@pytest.mark.parametrize("wrong", ["corner", "Corners", "cornres"])
def test_a_nearly_right_name_is_refused_with_the_right_one(bases, wrong):
    made = type("Made", bases, {wrong: 3})
    with pytest.raises(ValueError, match=rf"solid 'made': Made has `{wrong}`. Did you mean 'corners'\?"):
        solids().register("made")(dataclass(frozen=True)(made))
    both = type("Made", bases, {wrong: 3, "corners": 4})
    assert solids().register("made")(dataclass(frozen=True)(both)).corners == 4


def test_a_nearly_right_name_of_a_field_is_refused_too():
    @dataclass(frozen=True)
    class Made:
        corner: int

    registry = solids()
    with pytest.raises(ValueError, match="Did you mean 'corners'"):
        registry.register("made")(Made)
    assert "made" not in registry
