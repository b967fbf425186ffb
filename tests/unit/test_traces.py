"""What a run has made and cannot remove at once is removed at its end."""

from __future__ import annotations

from postflight.traces import Traces


def test_what_cannot_be_removed_now_is_tried_again_at_the_end() -> None:
    traces, tries = Traces("abc"), []

    def remove() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise TimeoutError("the pod takes long")

    traces.will_make("a pod", remove)
    traces.settle("a pod")
    assert traces.close() == []
    assert tries == [0, 1]


def test_what_can_never_be_removed_is_told() -> None:
    traces = Traces("abc")

    def remove() -> None:
        raise TimeoutError("the pod takes long")

    with traces.holding("a pod", remove):
        pass
    assert traces.close() == ["a pod could not be removed: the pod takes long"]
