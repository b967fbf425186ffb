"""Where the time went: every probe, and the chain of probes that a run cannot be shorter than."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postflight.verdict.record import ProbeTime, RunRecord


def render(record: RunRecord) -> str:
    """A table in seconds, the longest chain first, and that chain in one line; empty without probes."""
    if not record.probes:
        return ""
    rows = [("probe", "began", "took", "chain", "outcome")]
    rows += [
        (probe.name, f"{probe.began:.2f}", f"{probe.seconds:.2f}", f"{probe.chain:.2f}", probe.outcome)
        for probe in sorted(record.probes, key=lambda probe: -probe.chain)
    ]
    width = max(len(row[0]) for row in rows)
    table = [
        f"{name:{width}}  {began:>6}  {took:>6}  {chain:>6}  {outcome}".rstrip()
        for name, began, took, chain, outcome in rows
    ]
    chain = slowest_chain(record.probes)
    steps = " > ".join(f"{probe.name} {probe.seconds:.2f}" for probe in chain)
    return "\n".join((*table, "", f"slowest chain {chain[-1].chain:.2f} s: {steps}")) + "\n"


def slowest_chain(probes: Sequence[ProbeTime]) -> tuple[ProbeTime, ...]:
    """The probe that ended last along its inputs, led back through the input that it waited for longest."""
    if not probes:
        return ()
    by_name: Mapping[str, ProbeTime] = {probe.name: probe for probe in probes}
    chain = [max(probes, key=lambda probe: probe.chain)]
    while inputs := [by_name[name] for name in chain[0].inputs if name in by_name]:
        slowest = max(inputs, key=lambda probe: probe.chain)
        if slowest in chain:
            break
        chain.insert(0, slowest)
    return tuple(chain)
