"""What a check is, for people: the list of all, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence

from postflight.probes.probe import Probe, Safety
from postflight.verdict.record import CheckMeta


def listing(checks: Sequence[CheckMeta]) -> str:
    """One line per check: id, finding, severity, sentence."""
    width = max(len(each.id) for each in checks)
    return "\n".join(
        f"{each.id:<{width}}  {each.finding or '-':<4} {each.severity.value:<8}  {each.sentence}" for each in checks
    )


def page(check: CheckMeta, probes: Sequence[Probe]) -> str:
    """Everything there is to know of one check before it runs."""
    rights = sorted({str(right) for each in probes for right in each.rights})
    safety = max((each.safety for each in probes), key=list(Safety).index, default=Safety.READ_ONLY)
    lines = [
        f"{check.id}: {check.sentence}",
        f"severity {check.severity.value}" + (f", finding {check.finding} of the review" if check.finding else ""),
        "",
        *check.why.splitlines(),
        "",
        "how it looks",
        *(f"  {each.name}: {each.sentence}" for each in probes),
        f"needs       {', '.join(rights) or 'view'}"
        + ("; a way to the pods" if any(p.reaches for p in probes) else ""),
        f"safety      {safety.value}",
        f"remedy      {check.remedy}",
        f"cannot see  {check.blind_spots}",
    ]
    return "\n".join(lines)
