"""When a long trial counts as done, without a lab."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.homes import CHECKOUT
from tests.lab.live import trials

OWN = Path(__file__)


@pytest.mark.trial("lab/kinds")
def test_one_that_passed_is_fresh_until_what_it_rests_on_has_changed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    item, file = request.node, tmp_path / "trials.md"
    assert not trials.is_fresh(item, trials.read(file))
    item.user_properties.append(("seen", "a | b"))
    trials.keep(item, 61.4, file)
    (row,) = trials.read(file).values()
    assert (row.trial, row.seen, row.seconds) == (
        "one that passed is fresh until what it rests on has changed",
        "a | b",
        "61",
    )
    assert trials.is_fresh(item, {row.trial: row})
    assert not trials.is_fresh(item, {row.trial: replace(row, hash="other")})


def test_what_is_no_trial_is_never_left_out(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    trials.keep(request.node, 1.0, tmp_path / "trials.md")
    assert not (tmp_path / "trials.md").exists()
    assert not trials.is_fresh(request.node, {})


def test_the_hash_is_over_names_and_bytes_of_files_that_somebody_wrote() -> None:
    folder = CHECKOUT / "lab/kinds"
    made = trials.digest(["lab/kinds"], OWN)
    assert made == trials.digest([str(each.relative_to(CHECKOUT)) for each in folder.iterdir()], OWN)
    assert made != trials.digest(["lab/kinds"], OWN.with_name("test_kinds.py"))
    assert made != trials.digest(["lab/kinds/li-import"], OWN)


def test_what_it_rests_on_must_be_there() -> None:
    with pytest.raises(AssertionError, match="there is no lab/shapes"):
        trials.digest(["lab/shapes"], OWN)
