"""Whether an alert belongs to an incident that is known: as a part of it or as a consequence."""

from __future__ import annotations

from typing import Final

from detectors.alerts import Alert
from detectors.incidents.case import Case
from detectors.incidents.grouping import MINUTE, SAME_ONSET, follows, reach
from detectors.incidents.incident import Kind
from detectors.incidents.inputs import View, subject
from detectors.incidents.kinds import SYMPTOM, depth

MOSTLY: Final = 0.5
SYMPTOMS_LATE: Final = 180 * MINUTE
"""What goes on for longer does not hide what begins then."""


def tail(case: Case, alert: Alert) -> bool:
    """Whether an alert is of what was heard of as part of an incident, though its onset is estimated elsewhere or most
    of it is by now: small effects are dated early, and where there is little traffic it goes on for long."""
    incident = case.incident
    over = incident.resolved_ns is not None and alert.since_ns >= incident.resolved_ns
    if over or alert.signal not in case.heard:
        return False
    if alert.signal in case.direct:
        return incident.scope.within(alert.node) or alert.node.within(incident.scope)
    agent = (alert.node.value("tenant"), alert.node.value("agent"))
    return not agent[1] or agent in case.agents


def belongs(view: View, case: Case, alert: Alert) -> bool | None:
    """Whether an alert is part of an incident (True), a consequence (False), or neither (None).

    A part: the same signal, or one about the same things from the same time on, that is off where the incident is. A
    consequence: something further from a cause, in agents that the incident concerns, that began with it, or with its
    end (retries and backlogs come then); a mere symptom also in the hours after.
    """
    incident = case.incident
    started_ns, ended_ns = incident.started_ns, incident.resolved_ns
    near = follows(alert.since_ns, started_ns) or (ended_ns is not None and follows(alert.since_ns, ended_ns))
    alike = near and depth(alert.signal) < SYMPTOM and case.subject is subject(alert.signal)
    own = alert.signal in case.direct or alike
    if own and reach(view, incident.scope, case.agents, alert, started_ns) >= MOSTLY:
        return True
    deeper = depth(alert.signal) > case.depth or incident.kind is Kind.MODEL_CHANGE
    young = -SAME_ONSET <= alert.since_ns - started_ns <= SYMPTOMS_LATE
    symptom = depth(alert.signal) == SYMPTOM and young
    known = alert.signal in incident.measures
    after = (deeper and (near or symptom)) or (known and near)
    if after and reach(view, None, case.agents, alert, started_ns) >= MOSTLY:
        return False
    return None
