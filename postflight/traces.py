"""What a run makes in the deployment, and how each of it is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from postflight.cluster import cuts

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "postflight"
RUN_LABEL = "postflight/run"


class RunOver(Exception):
    """Something was to be made after the run's clean-up."""


@dataclass(slots=True)
class Traces:
    """Registered before it is made, removed last first. ``buried`` are the runs whose Lease was taken
    over because it had expired: they are dead."""

    run_id: str
    removals: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    buried: set[str] = field(default_factory=set)
    over: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every object that this run makes."""
        return {MANAGED_BY: NAME, RUN_LABEL: self.run_id}

    def will_make(self, what: str, remove: Callable[[], None], path: str = "") -> None:
        """``path`` is the API path of an object, for the proof that it is gone.

        Raises :class:`RunOver` after the run: a probe that an interrupt left behind makes nothing more.
        """
        if self.over:
            raise RunOver(f"the run is over: {what} is not made")
        if path:
            self.made.append(path)
        self.removals.append((what, remove))

    @contextmanager
    def holding(self, what: str, remove: Callable[[], None], path: str = "") -> Iterator[None]:
        """Made for the length of a context, and removed at its end: nobody has to wait for that later."""
        self.will_make(what, remove, path)
        try:
            yield
        finally:
            self.settle(what)

    def settle(self, what: str) -> None:
        """Remove one thing now. What the end of the run has removed already is not removed again; what cannot be
        removed is left to it, which tries again and tells."""
        for entry in [each for each in self.removals if each[0] == what]:
            with suppress(Exception):
                entry[1]()
                self.removals.remove(entry)

    def close(self) -> list[str]:
        """Remove everything, for good."""
        self.over = True
        return self.clean_up()

    def clean_up(self) -> list[str]:
        """Remove everything, what the way was cut from twice; a line for each that could not be."""
        troubles: list[str] = []
        while self.removals:
            what, remove = self.removals.pop()
            try:
                with cuts.noted() as way:
                    try:
                        remove()
                    except Exception:
                        if not way.met:
                            raise
                        remove()
            except Exception as error:
                troubles.append(f"{what} could not be removed: {' '.join(str(error).split())[:200]}")
        return troubles
