"""How options are read from the command line, beyond what tyro does by itself."""

from dataclasses import replace
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

OPTIONAL = ConstructorRegistry()
"""Shows `INT` for an option that may be None, and not `{None}|INT`; "None" is still read."""


@OPTIONAL.primitive_rule
def _optional(
    info: PrimitiveTypeInfo,
) -> PrimitiveConstructorSpec[Any] | UnsupportedTypeAnnotationError | None:
    arguments = get_args(info.type)
    if get_origin(info.type) not in (Union, UnionType) or NoneType not in arguments:
        return None
    rest: Any = Union[tuple(x for x in arguments if x is not NoneType)]  # type: ignore[valid-type] # noqa: UP007
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(rest, info.markers))
    if isinstance(spec, UnsupportedTypeAnnotationError):
        return spec
    return replace(
        spec,
        instance_from_str=lambda x: None if x == ["None"] else spec.instance_from_str(x),
        is_instance=lambda x: x is None or spec.is_instance(x),
        str_from_instance=lambda x: ["None"] if x is None else spec.str_from_instance(x),
        choices=None if spec.choices is None else (*spec.choices, "None"),
    )
