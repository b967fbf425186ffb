"""How long users went without, by what their requests met."""

from __future__ import annotations

from postflight.probes.outages import Asked, arrivals, outage


def test_answers_that_are_right_are_no_outage_but_their_own_time() -> None:
    found = outage("versions", [Asked(0.0, 0.1), Asked(0.5, 0.7), Asked(1.0, 1.1)], 2.0)
    assert (found.seconds, found.failed, found.total, found.first, found.open) == (0.2, 0, 3, "", False)
    assert found.words == "versions 0.2 s"


def test_it_lasts_from_the_first_that_asked_in_vain_to_the_next_that_did_not() -> None:
    asked = [
        Asked(0.0, 0.1),
        Asked(5.0, 5.1, "502"),
        Asked(5.6, 10.6, "no answer"),
        Asked(11.0, 11.5),
        Asked(12.0, 12.1),
    ]
    found = outage("send", asked, 20.0)
    assert (found.seconds, found.failed, found.total, found.first) == (6.5, 2, 5, "502")
    assert found.words == "send 6.5 s (2 of 5 failed)"


def test_the_longest_of_several_counts() -> None:
    asked = [Asked(0, 1, "503"), Asked(1, 2), Asked(3, 4, "503"), Asked(5, 9, "504"), Asked(9, 10), Asked(11, 12)]
    assert outage("sync", asked, 20.0).seconds == 7.0


def test_one_that_does_not_end_is_as_long_as_was_looked() -> None:
    found = outage("sync", [Asked(0, 1), Asked(2, 3, "503"), Asked(3, 4, "503")], 10.0)
    assert (found.seconds, found.open) == (8.0, True)
    assert found.words == "sync more than 8.0 s (2 of 3 failed)"


def test_nothing_asked_is_nothing_missed() -> None:
    assert outage("sync", [], 10.0).seconds == 0.0


def test_what_was_written_has_arrived_when_it_or_something_later_is_seen() -> None:
    sent = [(1, 0.0), (2, 1.0), (3, 2.0), (4, 9.0)]
    seen = [(1, 0.2), (3, 8.0)]
    found = arrivals(sent, seen)
    assert [(each.began, each.ended, each.said) for each in found] == [
        (0.0, 0.2, ""),
        (1.0, 8.0, ""),
        (2.0, 8.0, ""),
        (9.0, 9.0, "not there"),
    ]
    arrived = outage("arrival", found, 10.0)
    assert (arrived.seconds, arrived.open) == (7.0, True)
