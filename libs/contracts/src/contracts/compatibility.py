"""Whether a changed JSON Schema still fits those who know the old one."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# Keywords that bound a value: whoever reads what the new schema allows must not meet what the old one forbade.
_BOUNDS = (
    "type",
    "const",
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "anyOf",
    "items",
)


def breaks(old: Schema, new: Schema) -> list[str]:
    """What in `new` would surprise a reader of `old`, or refuse a record written by `old`; empty if nothing would.

    Allowed are new optional fields and new wording. A field that disappears, becomes optional, becomes required or
    changes what it may hold is a breaking change: it belongs in a fact with the next version.
    """
    return list(_breaks(old, new))


def _breaks(old: Schema, new: Schema) -> Iterator[str]:
    before, after = _fields(old), _fields(new)
    required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        if name not in after:
            yield f"{name} is gone"
        elif changed := _changed(_resolved(before[name], old), _resolved(after[name], new)):
            yield f"{name} changed its {', '.join(changed)}"
    for name in sorted(required_before - required_after):
        if name in after:
            yield f"{name} is no longer always there"
    for name in sorted(required_after - required_before):
        yield f"{name} is required, and older records do not have it"


def _fields(schema: Schema) -> dict[str, Schema]:
    fields: dict[str, Schema] = schema.get("properties", {})
    return fields


def _changed(old: Schema, new: Schema) -> list[str]:
    return [keyword for keyword in _BOUNDS if old.get(keyword) != new.get(keyword)]


def _resolved(field: Schema, root: Schema) -> Schema:
    """The field with a reference into the schema's own definitions replaced by what it names."""
    reference = field.get("$ref", "")
    resolved: Schema = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), field)
    return resolved
