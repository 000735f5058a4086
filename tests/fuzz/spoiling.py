"""Ways to spoil a file that was whole: at random, but so that much of it stays what readers look for."""

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ODD = st.one_of(
    st.sampled_from([
        None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**400, 0.5, 1e-320, -0.0, 1e308, float("nan"),
        float("inf"), "", "0", "NaN", "\0", "\ud800", "<pad>", "none", "é" * 300, [], {}, [[]], {"": None}, "/dev/zero",
    ]),
    st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers() | st.text(max_size=2), max_size=4),
    st.integers(40, 60).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)  # fmt: skip
"""Values that some reader may not have thought of."""


def spoiled_bytes(draw: Callable[..., Any], content: bytes) -> bytes:
    """The content cut, with other bytes in it, with a part of it twice, or something else altogether."""
    kind = draw(st.sampled_from(["cut", "changed", "doubled", "inserted", "other", "deep"]))
    place = draw(st.integers(0, len(content)))
    if kind == "cut":
        return content[:place]
    if kind == "other":
        return bytes(draw(st.binary(max_size=60)))
    if kind == "deep":
        return bytes(draw(st.sampled_from([b"[", b'{"a":', b"a = [", b"\0"]))) * 20_000
    more = bytes(draw(st.binary(min_size=1, max_size=9)))
    if kind == "changed":
        return content[:place] + more + content[place + len(more) :]
    if kind == "inserted":
        return content[:place] + more + content[place:]
    return content[:place] + content[max(0, place - 40) :]


def spoiled_value(draw: Callable[..., Any], value: Any) -> Any:
    """A JSON value with one thing in it changed, taken out, doubled, or put under another name."""
    value = copy.deepcopy(value)
    holders = [value]
    for holder in holders:
        inner = holder.values() if isinstance(holder, dict) else holder
        holders.extend(item for item in list(inner)[:30] if isinstance(item, dict | list))
    holder = draw(st.sampled_from([one for one in holders if one] or [value]))
    if not holder:
        return draw(ODD)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = draw(st.sampled_from(keys))
    kind = draw(st.sampled_from(["changed", "changed", "changed", "out", "doubled", "renamed"]))
    if kind == "changed":
        holder[key] = draw(ODD)
    elif kind == "out":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[str(draw(st.text(max_size=4))) if kind == "renamed" else f"{key}.more"] = holder[key]
    return value


def spoiled_json(draw: Callable[..., Any], content: bytes) -> bytes:
    """The same of a file of JSON."""
    return json.dumps(spoiled_value(draw, json.loads(content))).encode()


def spoiled_lines(draw: Callable[..., Any], content: bytes) -> bytes:
    """The same of a file of JSON lines."""
    lines = content.splitlines()
    place = draw(st.integers(0, len(lines) - 1))
    lines[place] = spoiled_json(draw, lines[place])
    return b"\n".join(lines) + b"\n"


def spoiled_toml(draw: Callable[..., Any], content: bytes) -> bytes:
    """The same of a recipe: one line with another value, another key, twice, or gone."""
    lines = content.splitlines()
    place = draw(st.sampled_from([number for number, line in enumerate(lines) if b"=" in line]))
    key, _, value = lines[place].partition(b"=")
    odd = [
        b"-1", b"0", b"1", b"2", b"1000", b"10_000_000", b"9223372036854775807", b"1" * 30, b"1" * 5000, b"1e-320",
        b"1e308", b"nan", b"inf", b"true", b'""', b'"none"', b'"a\\u0000b"', b'"../../x"', b"[]", b"[1, 2]", b"{}",
        b"[" * 5000, b'"1e999999999/0/0"', b"1979-05-27", b'"gru"', b'"rnn"', b'"x:y"', b'"word"', b'"lines"',
    ]  # fmt: skip
    kind = draw(st.sampled_from(["value", "value", "value", "key", "twice", "gone"]))
    line = {"value": key + b"= " + draw(st.sampled_from(odd)), "key": b"other =" + value, "gone": b""}.get(kind)
    lines[place : place + 1] = [lines[place]] * 2 if line is None else [line]
    return b"\n".join(lines) + b"\n"


def spoiled_tensors(draw: Callable[..., Any], content: bytes) -> bytes:
    """The same of the header of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(spoiled_value(draw, json.loads(content[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
