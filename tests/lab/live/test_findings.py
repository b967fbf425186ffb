"""The table of the findings, docs/findings.md: what of it a healthy run proves, and that all of it is proven."""

from lab.defects import names
from tests.lab.live import catalogue, findings, table
from tests.lab.live.verify import Verified


def test_the_controls_are_green(healthy: Verified) -> None:
    declared = findings.declared(names())
    greens = findings.read_greens()
    kept = {each.finding: each for each in catalogue.current(declared) if each.defect == findings.HEALTHY}
    for each in declared:
        # Without need a line keeps its date: a test run does not change the checkout.
        if each.control and not kept[each.number].proves:
            greens[each.number] = findings.green(each, healthy)
    known = {each.name: each for each in names()}
    findings.write(findings.lines(declared, known, table.read(), greens))


def test_every_finding_is_proven_by_the_content_of_now() -> None:
    found = catalogue.current(findings.declared(names()))
    assert findings.unproven(found) == []
    findings.write(found)
