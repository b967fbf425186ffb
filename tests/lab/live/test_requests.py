"""What a run asks of the API server, counted where it passes through."""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lab.cluster import Cluster
from postflight.cluster.kinds import LISTED
from tests.lab.live import kubeconfigs
from tests.lab.live.verify import Verified

Verify = Callable[..., Verified]

REQUEST = re.compile(r'verb="(\w+)" url="([^"]+)"')
COLLECTION = re.compile(r"^/(?:api|apis/[^/]+)/v\w+(?:/namespaces/([^/]+))?/(\w+)$")


@contextmanager
def counting(cluster: Cluster, log: Path) -> Iterator[int]:
    """kubectl proxy, which notes every request that it passes on; yields its port."""
    command = [str(cluster.kubectl_path), "--kubeconfig", str(cluster.kubeconfig), "proxy"]
    command += ["--port=0", "--reject-paths=^$", "-v=8"]
    with log.open("wb") as out:
        proxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out)
        assert proxy.stdout
        port = int(proxy.stdout.readline().rpartition(b":")[2])
        try:
            yield port
        finally:
            proxy.terminate()
            proxy.wait()
            proxy.stdout.close()


def test_one_list_per_kind_and_namespace(cluster: Cluster, tmp_path: Path, verify: Verify) -> None:
    log = tmp_path / "requests"
    with counting(cluster, log) as port:
        config = kubeconfigs.with_server(cluster, f"http://127.0.0.1:{port}", tmp_path / "config")
        verify(config).must_be_green()
        time.sleep(0.2)
    lists: Counter[tuple[str, str]] = Counter()
    for verb, url in REQUEST.findall(log.read_text()):
        parts = urlsplit(url)
        found = COLLECTION.match(parts.path)
        # What is looked for by name or selector, and further pages, are no second LIST of a kind.
        asked = parse_qs(parts.query).keys()
        if verb == "GET" and found and not asked & {"continue", "labelSelector", "fieldSelector"}:
            lists[found[1] or "", found[2]] += 1
    spaces = {space for space, _ in lists if space}
    assert {plural for _, plural in lists} >= {kind.plural for kind in LISTED}, sorted(lists)
    assert not [f"{count} LISTs of {plural} in {space}" for (space, plural), count in lists.items() if count > 1]
    # Once for the whole cluster is once for each namespace.
    assert not [plural for space, plural in lists if not space and any((each, plural) in lists for each in spaces)]
