"""YAML of plain values: the rules of 1.2, what is refused, and that what was written is read."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlandscape.cubes.yaml_file import DocumentError, parse, read_yaml, write_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda some: (
        st.lists(some, max_size=3) | st.dictionaries(st.text() | st.integers() | st.booleans(), some, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-.5E+2", -50.0),
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("=", "="),
        ("0x1F", 31),
        (".inf", math.inf),
        ("~", None),
        ("{1: 2.0, a: [b]}", {1: 2.0, "a": ["b"]}),
    ],
)
def test_scalars_follow_the_rules_of_yaml_1_2(text, value):
    assert parse(text, "x") == value
    assert type(parse(text, "x")) is type(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(content=st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_is_read_with_its_types_and_its_order(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("y") / "a.yaml"
    write_yaml(content, path)
    assert repr(read_yaml(path)) == repr(content)


@pytest.mark.parametrize("content", [{"b": [1, 2.5, None, True, "λ: 'x'"], "a": "no"}, {"b": {1: math.inf}, "a": "no"}])
def test_what_is_written_is_yaml_for_anyone(content, tmp_path):
    write_yaml(content, tmp_path / "a.yaml")
    assert repr(parse((tmp_path / "a.yaml").read_text(encoding="utf-8"), "a.yaml")) == repr(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a: expected each key once, got it again in line 3 of x"),
        ("a: [1", "x: expected YAML, got .* in line 1"),
        ("a: !!python/object:os.system x", "x: expected YAML, got could not determine a constructor"),
        ("a: !!binary aGk=", "x: expected numbers, texts, lists and mappings, got a bytes"),
        ("a: !!set {b}", "x: expected numbers, texts, lists and mappings, got a set"),
        ("a: &a [*a]", "x: expected at most 2,000,000 values, got more by its aliases"),
        ("a: &a {b: *a}", "x: expected at most 2,000,000 values, got more by its aliases"),
        ("a: " + "9" * 5000, "x: expected YAML, got Exceeds the limit"),
        ("[" * 40 + "]" * 40 + "\n- b", "x: expected YAML, got"),
        ("[" * 100 + "]" * 100, "x: expected at most 50 levels"),
        ("[" * 100_000, "x: expected at most 50 levels"),
        ("- " * 3000, "x: expected at most 50 levels|x: expected YAML, got"),
        ("? " * 3000, "x: expected at most 50 levels|x: expected YAML, got"),
        ("a: *b", "x: expected YAML, got found undefined alias 'b' in line 1"),
    ],
    ids=range(14),
)
def test_what_is_no_document_of_plain_values_is_refused_at_once(text, message):
    began = time.process_time()
    with pytest.raises(DocumentError, match=message):
        parse(text, "x")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "form", ["[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", "{{a: {0}, b: {0}, c: {0}, d: {0}}}"]
)
def test_an_alias_bomb_is_refused_at_once(form):
    lines = ["a0: &a0 [1, 2, 3]"] + [f"a{i}: &a{i} " + form.format(f"*a{i - 1}") for i in range(1, 30)]
    began = time.process_time()
    with pytest.raises(DocumentError, match="got more by its aliases"):
        parse("\n".join(lines), "x")
    assert time.process_time() - began < 2


def test_a_document_of_many_short_lists_is_no_deep_one():
    text = "".join(f"- [{i}, {{a: {i}}}]\n" for i in range(2000))
    assert parse(text, "x")[7] == [7, {"a": 7}]


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": NaN}', {"a": "NaN"}), ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}), ("{a: 1}", {"a": 1})],
)
def test_a_file_that_looks_like_json_is_yaml_all_the_same(text, value, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == value


def test_a_key_that_json_would_take_twice_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text('{"grid": {"seed": [1], "seed": [2]}}')
    with pytest.raises(DocumentError, match=r"seed: expected each key once, got it again in line 1 of a.yaml"):
        read_yaml(tmp_path / "a.yaml")
