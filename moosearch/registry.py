"""Registries of plug-ins, and the way from names and mappings to frozen dataclasses.

A plug-in is a frozen dataclass: its fields are its YAML keys, its annotations their schema, its
``__post_init__`` their validation. A field annotated ``Annotated[Loss, LOSSES]`` is built through that
registry, so plug-ins nest without code. Leaves are validated by pydantic.
"""

import dataclasses
import difflib
import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema

from moosearch.errors import Place, nearest

T = TypeVar("T")
C = TypeVar("C", bound=type)


def _parse_number(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= 32:  # a Fraction of "1e999999999" would not end
        try:
            return float(Fraction(value))
        except (ValueError, ArithmeticError):
            raise ValueError("a number or a fraction such as 8/255") from None
    return value


Number = Annotated[
    float,
    pydantic.Field(allow_inf_nan=False),
    BeforeValidator(_parse_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[0-9.eE+-]+(/[0-9]+)?$"}]}),
]
"""A real number; ``8/255`` is allowed."""
Positive = Annotated[Number, pydantic.Field(gt=0)]
NonNegative = Annotated[Number, pydantic.Field(ge=0)]
Count = Annotated[int, pydantic.Field(ge=1, le=2**31 - 1)]


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    Example:
        >>> shapes: Registry[object] = Registry("shape")
        >>> @shapes.register("circle")
        ... @dataclasses.dataclass(frozen=True)
        ... class Circle:
        ...     radius: Positive = 1.0
        >>> build(Annotated[object, shapes], {"name": "circle", "radius": "1/2"})
        Circle(radius=0.5)
    """

    def __init__(
        self,
        kind: str,
        plural: str | None = None,
        *,
        protocol: type = object,
        optional: tuple[str, ...] = (),
    ) -> None:
        """Create a registry.

        Args:
            kind: What the plug-ins are, in the singular, for messages.
            plural: The plural, where it is not ``kind`` + "s".
            protocol: What a plug-in is.
            optional: Attributes of the protocol that a plug-in may leave out; it has the protocol's then.
        """
        self.kind = kind
        self.plural = plural or f"{kind}s"
        self.optional = {name: inspect.getattr_static(protocol, name) for name in optional}
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Return a class decorator that makes a frozen dataclass known as ``name``.

        What the class leaves out of the optional attributes is added to it.

        Raises:
            ValueError: The class is not a frozen dataclass, the name is taken by another one, or an attribute
                looks like a misspelt optional one.
        """

        def decorate(cls: C) -> C:
            params = getattr(cls, "__dataclass_params__", None)
            if params is None or not params.frozen:
                raise ValueError(f"{self.kind} '{name}': {cls.__name__} is not a frozen dataclass")
            old = self._classes.get(name)
            if old is not None and old.__qualname__ != cls.__qualname__:
                raise ValueError(f"{self.kind} '{name}' is registered already, by {old!r}")
            self._complete(name, cls)
            self._classes[name] = cls
            return cls

        return decorate

    def _complete(self, name: str, cls: type) -> None:
        """Add the optional attributes that a class leaves out, unless it seems to misspell one of them."""
        for part in cls.__mro__:
            own = {*vars(part), *vars(part).get("__annotations__", {})}
            for attribute in sorted(each for each in own if not each.startswith("_")):
                for meant in difflib.get_close_matches(attribute, self.optional.keys() - own, 1, cutoff=0.85):
                    raise ValueError(
                        f"{self.kind} '{name}': {part.__name__} has `{attribute}`. Did you mean '{meant}'? "
                        f"If not, give it `{meant}` too."
                    )
        known = {*dir(cls), *(field.name for field in dataclasses.fields(cls))}
        for attribute in self.optional.keys() - known:
            setattr(cls, attribute, self.optional[attribute])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(sorted(self._classes))

    def __contains__(self, name: object) -> bool:
        """Whether a plug-in has this name."""
        return name in self._classes

    def get(self, name: Any, place: Place | None = None) -> type[T]:
        """Return the class called ``name``.

        Raises:
            SpecError: There is none; the message names the nearest one.
        """
        if isinstance(name, str) and name in self._classes:
            return self._classes[name]
        raise (place or Place()).error(f"no {self.kind} is called {name!r}. {nearest(str(name), self)}")

    def name_of(self, plugin: T) -> str:
        """Return the name of a plug-in's class."""
        return next(name for name, cls in self._classes.items() if cls is type(plugin))


def registry_of(hint: Any) -> Registry[Any] | None:
    """Return the registry in an ``Annotated`` hint, if there is one."""
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Registry):
            return meta
    return None


def item_hint(hint: Any) -> Any | None:
    """Return ``X`` of a hint ``tuple[X, ...]``, else None."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(args) == 2 and args[1] is Ellipsis:
        return args[0]
    return None


@functools.cache
def field_hints(cls: type) -> dict[str, Any]:
    """Return the init fields of a dataclass and their hints, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def default_of(cls: type, name: str) -> Any:
    """Return a field's default, or `dataclasses.MISSING`."""
    spec = next(f for f in dataclasses.fields(cls) if f.name == name)
    if spec.default_factory is not dataclasses.MISSING:
        return spec.default_factory()
    return spec.default


def late(default: Any) -> Any:
    """Return a field that came after its class was used: it is written out only where it is not its default.

    So specs of before it, and the ids and seeds that come from them, are what they were.
    """
    return dataclasses.field(default=default, metadata={"late": True})


def is_left_out(cls: type, name: str, tree: Any) -> bool:
    """Whether a field's value, as plain data, is not written out: the default of a `late` one."""
    late_defaults = _late_defaults(cls)
    return name in late_defaults and bool(tree == late_defaults[name])


@functools.cache
def _late_defaults(cls: type) -> dict[str, Any]:
    """Return the default of every `late` field of a dataclass, as plain data."""
    hints = field_hints(cls)
    return {
        f.name: to_tree(f.default, hints[f.name]) for f in dataclasses.fields(cls) if "late" in f.metadata
    }


def shortened(tree: Any, hint: Any) -> Any:
    """Return complete plain data without what is left out of it: as `to_tree` writes the instance of it."""
    registry, item = registry_of(hint), item_hint(hint)
    if item is not None:
        return [shortened(element, item) for element in tree]
    cls = hint if registry is None else registry.get(tree["name"])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return tree
    hints = field_hints(cls)
    trees = {key: shortened(sub, hints[key]) if key in hints else sub for key, sub in tree.items()}
    return {key: sub for key, sub in trees.items() if key not in hints or not is_left_out(cls, key, sub)}


def split_name(node: Any, registry: Registry[Any], place: Place) -> tuple[type, dict[str, Any]]:
    """Read a plug-in node: its class and the fields given; a bare string is a name without fields.

    Raises:
        SpecError: The node is neither a name nor a mapping with a known ``name``.
    """
    if isinstance(node, str):
        return registry.get(node, place), {}
    if not isinstance(node, Mapping):
        raise place.error(
            f"got {node!r}, expected the name of some {registry.kind} or a mapping with `name`. "
            f"Known: {', '.join(registry)}."
        )
    if "name" not in node:
        raise place.error(f"`name` is missing: which {registry.kind}? Known: {', '.join(registry)}.")
    cls = registry.get(node["name"], place.child("name"))
    return cls, {key: value for key, value in node.items() if key != "name"}


def check_fields(cls: type, fields: Any, place: Place, title: str) -> None:
    """Check that the keys of a mapping are fields of a class and that none is missing.

    Raises:
        SpecError: A key is unknown (the message names the nearest one) or a required one is missing.
    """
    if not isinstance(fields, Mapping):
        raise place.error(f"got {fields!r}, expected a mapping of parameters of {title}.")
    hints = field_hints(cls)
    for key in fields:
        if key not in hints:
            raise place.child(key).error(f"{title} has no parameter '{key}'. {nearest(str(key), hints)}")
    for name in hints:
        if name not in fields and default_of(cls, name) is dataclasses.MISSING:
            raise place.error(f"`{name}` is missing: {title} needs it.")


def validate_leaf(value: Any, hint: Any, place: Place) -> Any:
    """Validate and coerce a value that is no plug-in, with pydantic in strict mode.

    Raises:
        SpecError: The value does not fit; the message says what is allowed.
    """
    try:
        return _adapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        several = typing.get_origin(hint) in (typing.Union, types.UnionType)
        found = error.errors() if several else error.errors()[:1]
        expected = ", or ".join(dict.fromkeys(_expected(each["msg"]) for each in found))
        names = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        hint_text = f" {nearest(value, names)}" if names and isinstance(value, str) else ""
        raise place.error(f"got {value!r}, expected {expected}.{hint_text}") from None


def _expected(message: str) -> str:
    """Return what pydantic says is allowed, in our words."""
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ")
    expected = expected.replace("greater than or equal to", "at least").replace("greater", "more")
    return expected.replace("less than or equal to", "at most")


@functools.lru_cache(maxsize=512)
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def build(hint: Any, node: Any, place: Place | None = None) -> Any:
    """Build what a hint asks for from plain data.

    Args:
        hint: A dataclass, ``Annotated[Protocol, registry]``, ``tuple[hint, ...]`` or a leaf type.
        node: Mappings, lists and scalars, as read from YAML, without genes.
        place: Where the node stands, for messages.

    Returns:
        An instance.

    Raises:
        SpecError: A name, key or value is wrong, or ``__post_init__`` refuses the combination.
    """
    place = place or Place()
    registry, item = registry_of(hint), item_hint(hint)
    if registry is not None:
        cls, fields = split_name(node, registry, place)
        title = node if isinstance(node, str) else str(node["name"])
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        cls, fields, title = hint, node, place.shown[-1] if place.shown else hint.__name__
    elif item is not None:
        if not isinstance(node, list | tuple):
            raise place.error(f"got {node!r}, expected a list.")
        return tuple(build(item, value, place.child(i)) for i, value in enumerate(node))
    else:
        return validate_leaf(node, hint, place)
    check_fields(cls, fields, place, title)
    hints = field_hints(cls)
    arguments = {key: build(hints[key], value, place.child(key)) for key, value in fields.items()}
    try:
        return cls(**arguments)
    except ValueError as error:
        raise place.error(str(error)) from None


def to_tree(value: Any, hint: Any) -> Any:
    """Write an instance as plain data, the inverse of `build`: every field that is not left out as `late`."""
    registry, item = registry_of(hint), item_hint(hint)
    if registry is not None or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        name = {"name": registry.name_of(value)} if registry is not None else {}
        cls: type = value.__class__
        trees = {key: to_tree(getattr(value, key), sub) for key, sub in field_hints(cls).items()}
        return name | {key: tree for key, tree in trees.items() if not is_left_out(cls, key, tree)}
    if item is not None:
        return [to_tree(element, item) for element in value]
    return value


def describe(cls: type) -> str:
    """List a plug-in's parameters with their defaults.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Circle:
        ...     radius: Positive = 1.0
        >>> describe(Circle)
        'radius: 1.0'
    """
    parts = []
    for name, hint in field_hints(cls).items():
        default = default_of(cls, name)
        tree = "required" if default is dataclasses.MISSING else to_tree(default, hint)
        text = tree if isinstance(tree, str) else json.dumps(tree)
        parts.append(f"{name}: {text}" if text else name)
    return "\n".join(parts)
