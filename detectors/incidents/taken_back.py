"""What becomes of incidents when the minutes in which they opened or changed are taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from detectors.incidents.case import Case
from detectors.incidents.incident import Incident


def taken_back(later: Iterable[Case], now: Sequence[Case]) -> list[Incident]:
    """Incidents that are no more, resolved, for those who were told of them.

    `later` are the cases as they were, `now` those of before, which are changed: what people said of them still counts,
    and they are told anew with a version that is seen.
    """
    known = {case.incident.id: case for case in now}
    gone = []
    for case in later:
        before = known.get(case.incident.id)
        if before is not None:
            before.incident.version = max(before.incident.version, case.incident.version)
            before.acknowledged = before.acknowledged or case.acknowledged
            before.silence, before.silenced_until_ns = case.silence, case.silenced_until_ns
            before.told = ""
        elif case.open:
            case.resolve(case.incident.opened_ns)
            case.incident.settled = True
            case.incident.version += 1
            gone.append(case.copy())
    return sorted(gone, key=lambda incident: (incident.opened_ns, incident.id))
