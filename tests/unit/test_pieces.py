"""What is done piece by piece comes out, byte for byte, as if it were done at once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from support.seed import SEED

from sessiondir import codec, pieces, steps
from sessiondir.document import put_document
from sessiondir.entries import document_parts, encode_document, parse_document


def value(rng: random.Random, depth: int) -> Any:
    """Some JSON value, with more than ``pieces.MANY`` members now and then."""
    kind = rng.random()
    if depth == 0 or kind < 0.2:
        return rng.choice(
            [1, 1.5, -0.0, None, False, 2**70, "x" * rng.randrange(900), "é\U0001f600", '"\\\n', "", [], {}]
        )
    count = rng.choice([0, 1, 4, 5, 5, 6, 70])
    if kind < 0.6:
        return [value(rng, depth - 1) for _ in range(count)]
    return {f'k"é{number}': value(rng, depth - 1) for number in range(count)}


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is 300 bytes, so that everything is large."""
    monkeypatch.setattr(steps, "LARGE_BYTES", 300)
    steps.offer_with(lambda: None)


def containers(seed: int) -> list[Any]:
    """Arrays and objects."""
    rng = random.Random(seed)
    return [one for one in (value(rng, 3) for _ in range(60)) if type(one) in (list, dict)]


@pytest.mark.usefixtures("small_steps")
def test_pieces_make_the_same_whole() -> None:
    """Encoding, decoding, rewriting and comparing give what one call gives."""
    several = 0
    for wanted in containers(SEED):
        data = codec._encode_plain(wanted)
        several += len(data) > 3000
        assert b"".join(pieces.encode(wanted)) == data == codec.encode(wanted)
        assert repr(pieces.decode(data, codec.decode)) == repr(wanted)
        assert repr(codec.decode_in_steps(codec.indent(data))) == repr(wanted)
        assert pieces.canonical(codec.indent(data)[:-1]) == data
        assert pieces.is_encoded(wanted, data)
        assert not pieces.is_encoded(wanted, data + b" ")
        assert not pieces.is_encoded(wanted, data[:-1])
        assert not pieces.is_encoded([wanted, 1], data)
    assert several > 5


@pytest.mark.usefixtures("small_steps")
def test_a_session_file_written_in_parts_has_the_same_bytes() -> None:
    """The parts of a session file make up what one piece would be, and it reads back the same."""
    for number, one in enumerate(containers(SEED + 2)):
        fields = codec.to_fields({"n": number, "text": "ü", "value": one, "empty": {}})
        doc = put_document("agent:main:ü", 7, fields, {"other": b"[1,{}]"})
        data = b"".join(document_parts(doc))
        assert data == encode_document(doc)
        again = parse_document(data, doc.key, "path", 3)
        assert (again.fields, again.version, again.extra) == (fields, 7, {"other": again.extra["other"]})  # type: ignore[index]
        assert doc.size == len(codec.encode_fields(fields))


@pytest.mark.usefixtures("small_steps")
def test_deep_nesting_is_not_blown_up_in_parts() -> None:
    """A session file that would grow too much by being laid out is left compact, in parts as well."""
    deep: Any = "x"
    for _ in range(150):
        deep = [deep, 1]
    doc = put_document("a", 1, codec.to_fields({"deep": deep}))
    data = b"".join(document_parts(doc))
    assert data == encode_document(doc)
    assert data.count(b"\n") == 1


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    "bad", [float("nan"), {1, 2}, b"bytes", {1: "number as a name"}, 1 << 20_000], ids=range(5)
)
def test_what_has_no_json_is_refused_with_its_place(bad: Any) -> None:
    """However large the value around it, the error names the place."""
    large = {"list": [{"n": number, "text": "x" * 50} for number in range(200)]}
    large["list"][150]["text"] = bad
    with pytest.raises(codec.EncodeError) as caught:
        codec.encode(large, "field")
    assert "field.list[150].text" in str(caught.value)


@pytest.mark.usefixtures("small_steps")
def test_nesting_is_limited_in_pieces_too() -> None:
    """The limit of nesting counts the levels above a piece."""

    def nested(levels: int) -> Any:
        one: Any = ["x"] * 100
        for _ in range(levels - 1):
            one = [one, *["y"] * 100]
        return one

    assert codec.decode(codec.encode(nested(codec.MAX_SAFE_DEPTH))) == nested(codec.MAX_SAFE_DEPTH)
    with pytest.raises(codec.EncodeError, match="nested deeper"):
        codec.encode(nested(codec.MAX_SAFE_DEPTH + 1))


@pytest.mark.usefixtures("small_steps")
def test_text_with_lone_surrogates_is_kept() -> None:
    """What only the standard library writes and reads comes through, and is the same when written again."""
    odd = [{"n": number, "text": "\ud800" if number == 70 else "x" * 20, "f": 1e16} for number in range(100)]
    data = codec.encode(odd)
    assert codec.decode_in_steps(data) == odd
    assert codec.fields_from_raw({"f": data}) == {"f": data}
    assert codec.difference({"f": data}, {"f": odd}) == ({}, ())


@pytest.mark.usefixtures("small_steps")
def test_a_changed_value_is_told_from_one_in_another_order() -> None:
    """The order of members carries no meaning, in large values as in small ones; a change of one number does."""
    value = [{"a": number, "b": "x" * 20} for number in range(100)]
    fields = codec.to_fields({"f": value})
    turned = [{"b": one["b"], "a": one["a"]} for one in value]
    assert codec.difference(fields, {"f": turned}) == ({}, ())
    turned[50]["a"] = 51
    assert list(codec.difference(fields, {"f": turned})[0]) == ["f"]
    assert list(codec.difference(fields, {"f": [*value, 1]})[0]) == ["f"]


@pytest.mark.usefixtures("small_steps")
def test_bytes_that_are_not_utf8_are_noticed_wherever_they_stand() -> None:
    """A character cut by the end of a step is none of them; one cut by the end of the text is."""
    text = "aé\U0001f600" * 400
    for shift in range(8):
        data = b"x" * shift + text.encode()
        pieces.require_text(data)
        for broken in (data[:-1], data[:500] + b"\xff" + data[500:]):
            with pytest.raises(UnicodeDecodeError):
                pieces.require_text(broken)
