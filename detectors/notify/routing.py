"""Which routes an incident takes, and with which others it is told of together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from detectors.notify.page import Told
from dimwatch.clock import NS_PER_SECOND
from dimwatch.targets import WEEKDAYS, QuietHours, Route


def fits(route: Route, incident: Told) -> bool:
    """Whether every condition of a route holds."""
    return (
        incident.severity in route.severities
        and (not route.kinds or incident.kind in route.kinds)
        and (not route.tenants or any(fnmatchcase(incident.tenant, pattern) for pattern in route.tenants))
        and all(fnmatchcase(incident.scope.get(name, ""), pattern) for name, pattern in route.scope.items())
    )


def routes_of(routes: Sequence[Route], incident: Told) -> list[Route]:
    """The first route that fits, and further ones where it says so."""
    found = []
    for route in routes:
        if fits(route, incident):
            found.append(route)
            if not route.go_on:
                break
    return found


def group_key(route: Route, incident: Told) -> tuple[str, ...]:
    """Incidents of one route with the same key are told of together; tenants never are."""
    if route.group_by is None:
        return (incident.tenant, f"incident={incident.id}")
    values = {"kind": incident.kind, "severity": incident.severity, **incident.scope}
    return (incident.tenant, *(f"{name}={values.get(name, '')}" for name in sorted(route.group_by)))


def is_quiet(hours: Sequence[QuietHours], now_ns: int) -> bool:
    """Whether some quiet hours hold now."""
    moment = datetime.fromtimestamp(now_ns // NS_PER_SECOND, UTC)
    for quiet in hours:
        local = moment.astimezone(ZoneInfo(quiet.time_zone))
        clock, today = local.time(), local.date()
        overnight = quiet.end < quiet.start
        if overnight and clock < quiet.end:
            began = today - timedelta(days=1)
        elif clock >= quiet.start and (overnight or clock < quiet.end):
            began = today
        else:
            continue
        if WEEKDAYS[began.weekday()] in quiet.days:
            return True
    return False
