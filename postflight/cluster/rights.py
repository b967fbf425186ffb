"""The rights preflight: which verb, resource and namespace is missing, asked before the first probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postflight.cluster.api import Api
from postflight.cluster.threads import in_threads
from postflight.limits import Limit

Wanted = tuple[str, str, str, str]


def missing_rights(api: Api, wanted: Sequence[Wanted]) -> frozenset[Wanted]:
    """Those of (verb, resource, group, namespace) that the API server would refuse. One that it does
    not answer for counts as there: who uses it is told."""

    def asker(each: Wanted) -> Callable[[], bool]:
        return lambda: api.may(*each)

    answers = in_threads([asker(each) for each in wanted], Limit.REQUEST)
    return frozenset(
        each for each, answer in zip(wanted, answers, strict=True) if answer.exception() is None and not answer.result()
    )
