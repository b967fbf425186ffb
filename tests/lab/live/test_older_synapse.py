"""With the oldest Synapse that is to work, the verdict is the same but for what that release cannot do."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from lab.cluster import Cluster
from lab.defects import load
from lab.releases import OLDER
from postflight.verdict.status import Status
from tests.lab.live.bench import Bench
from tests.lab.live.expectation import differences, first_of
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

#: What is warned of there, and with which words: that GET .../rtc/transports came with Synapse 1.140 is a fact about
#: calls, whoever runs an older one: newer clients start none.
WARNED = {"calls.matrixrtc": "newer clients are not told of calls: rtc/transports says 404 M_UNRECOGNIZED"}
#: Its image has no synapse-s3-storage-provider, and so no media go to an object store.
ABSENT = ("media.storage",)
#: One after the other, as both change what HAProxy leads where.
GROUPS = (("journey-send-elsewhere", "media-jobs-nobody", "background-nobody"), ("backends-wrong-worker",))
ASKED = "from importlib.metadata import version; print(version('matrix-synapse'))"


@pytest.fixture
def older(bench: Bench, healthy: Verified) -> Cluster:
    # `healthy` first: it is taken on the lab of the newest release, and there is one lab at a time.
    return bench.healthy(synapse=OLDER.series)


@pytest.fixture
def usual(healthy: Verified) -> Mapping[str, Status]:
    """What a run says about a healthy lab of this release."""
    return {**healthy.statuses, **dict.fromkeys(WARNED, Status.WARNED), **dict.fromkeys(ABSENT, Status.ABSENT)}


def test_all_of_it_is_that_release(older: Cluster) -> None:
    pods = older.get("/api/v1/namespaces/matrix/pods?labelSelector=app.kubernetes.io/name=synapse")["items"]
    assert {each["image"] for pod in pods for each in pod["spec"]["containers"]} == {OLDER.image}
    said = older.kubectl("exec", "-n", "matrix", "synapse-main-0", "-c", "synapse", "--", "python", "-c", ASKED)
    assert said.strip() == OLDER.version


def test_it_is_green(older: Cluster, usual: Mapping[str, Status], verify: Verify) -> None:
    seen = verify(older.kubeconfig)
    wrong = differences([], usual, seen)
    assert not wrong, "\n".join([*wrong, "", seen.output])
    for check, words in WARNED.items():
        told = [each.failure.headline for each in seen.results[check].judged if each.status is Status.WARNED]
        assert len(told) == 1, told
        assert told[0].startswith(words)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: "+".join(group))
def test_it_is_red_for_the_same_reasons(
    group: Sequence[str], bench: Bench, usual: Mapping[str, Status], verify: Verify
) -> None:
    with bench.broken(group, synapse=OLDER.series) as cluster:
        red = verify(cluster.kubeconfig)
        wrong = differences([load(name) for name in group], usual, red)
        assert not wrong, "\n".join([*wrong, "", red.output])
    assert all(first_of(red, load(name).check, Status.FAILED) for name in group)
