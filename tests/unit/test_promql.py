"""The names in an expression of Prometheus: by example, and whatever is put into one is found in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postflight.deployment.promql import AGGREGATORS, GROUPING, KEYWORDS, asked_for


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", ["up"]),
        ('up{job=~"synapse.*"} == 0', ["up"]),
        ("sum by (le, job) (rate(a_bucket[5m]))", ["a_bucket"]),
        ("histogram_quantile(0.99, sum(rate(a_bucket{x='by (y)'}[5m])) by (le)) > 1e-3", ["a_bucket"]),
        ("a:b:rate5m / on(instance) group_left(version) c offset 5m", ["a:b:rate5m", "c"]),
        ("max_over_time(deriv(a[1h:1m])[1d:5m])", ["a"]),
        ("time() - a > 60 and on() b", ["a", "b"]),
        ("topk(3, a) or vector(0)", ["a"]),
        ("count_values without (x) ('version', a)", ["a"]),
        ('{__name__="a", job="x"} + {"b.c", job="y"}', ["a", "b.c"]),
        ('{__name__=~"a|b"}', []),
        ("a @ end() # b", ["a"]),
        ("a * Inf - NaN", ["a"]),
        ("sum(a) by(x) unless bool_thing", ["a", "bool_thing"]),
        ("-a ^ .5", ["a"]),
        ("absent_over_time(a[10m])", ["a"]),
        ('label_replace(a, "x", "$1", "y", "(.*)")', ["a"]),
        ("", []),
        ("a{", ["a"]),
    ],
)
def test_by_example(expression: str, names: list[str]) -> None:
    assert list(asked_for(expression).names) == names


def test_one_of_several_will_do() -> None:
    assert asked_for("a or b").either
    assert not asked_for('a{x="or"}').either


RESERVED = GROUPING | KEYWORDS | AGGREGATORS
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(:[a-z]{1,4})?", fullmatch=True).filter(lambda name: name not in RESERVED)
labels = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
texts = st.text(alphabet="abc {}()[],=\\\"'#\n", max_size=6).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
)
durations = st.sampled_from(["5m", "1h30m", "30s", "1d"])


def selectors() -> st.SearchStrategy[tuple[str, list[str]]]:
    matcher = st.tuples(labels, st.sampled_from(["=", "!=", "=~", "!~"]), texts).map("".join)
    inner = st.lists(matcher, max_size=3).map(lambda each: "{" + ", ".join(each) + "}" if each else "")
    return st.tuples(names, inner).map(lambda pair: ("".join(pair), [pair[0]]))


def longer(inner: st.SearchStrategy[tuple[str, list[str]]]) -> st.SearchStrategy[tuple[str, list[str]]]:
    listed = st.lists(labels, max_size=2).map(", ".join)
    return st.one_of(
        st.tuples(st.sampled_from(sorted(AGGREGATORS)), st.sampled_from(["by", "without"]), listed, inner).map(
            lambda it: (f"{it[0]} {it[1]} ({it[2]}) ({it[3][0]})", it[3][1])
        ),
        st.tuples(st.sampled_from(["rate", "increase"]), selectors(), durations).map(
            lambda it: (f"{it[0]}({it[1][0]}[{it[2]}])", it[1][1])
        ),
        st.tuples(inner, st.sampled_from(["+", "/", "> bool", "and", "or", "unless", "=="]), listed, inner).map(
            lambda it: (f"({it[0][0]}) {it[1]} on({it[2]}) ({it[3][0]})", it[0][1] + it[3][1])
        ),
        st.tuples(inner, durations, st.integers(0, 10**9)).map(
            lambda it: (f"({it[0][0]}) > {it[2]} # {it[1]} more\n", it[0][1])
        ),
    )


@given(st.recursive(selectors(), longer, max_leaves=6))
def test_what_is_put_in_is_found_and_nothing_else(made: tuple[str, list[str]]) -> None:
    expression, put_in = made
    assert list(asked_for(expression).names) == list(dict.fromkeys(put_in))


@given(st.text(max_size=40))
def test_no_text_at_all_makes_it_fall(text: str) -> None:
    asked_for(text)
