"""A machine's clock that leaps ahead and is set back: the fleet stage finds what it would have found."""

from __future__ import annotations

from detectors.windows.minute import MINUTE_NS
from detectors.windows.points import NO_POINTS, NO_SIGHTINGS
from dimwatch import records
from dimwatch.clock import NS_PER_SECOND
from dimwatch.eventlog.base import NewRecord
from tests.told_outage import START_NS, Told, told
from tests.unit.dimwatch.app.test_fleet import Site

HOUR_NS = 3600 * NS_PER_SECOND
LEAP_AT = 285
"""Minutes after the beginning: soon before the outage."""


class Live(Site):
    """Of a worker that says how many partitions there are."""

    def hear(self, what: Told) -> None:
        self.clock.advance_to(what.watermark_ns)
        headers = {records.HEADER_SOURCE: "worker-0", records.HEADER_SOURCES: "1"}
        tables = {records.POINTS: what.points, records.SIGHTINGS: what.sightings}
        self.log.append(
            {t: [NewRecord(records.encode(of), what.watermark_ns, headers=headers)] for t, of in tables.items()}
        )


def test_a_clock_that_leaps_and_is_set_back_blinds_nobody() -> None:
    site = Live()
    for minute, what in enumerate(told()):
        site.hear(what)
        site.stage.step(0.0)
        if minute == LEAP_AT:
            for beat in range(12):  # longer than it is in doubt
                mark_ns = what.watermark_ns + 2 * HOUR_NS + beat * 10 * NS_PER_SECOND
                site.hear(Told(mark_ns, NO_POINTS, NO_SIGHTINGS))
                site.stage.step(0.0)
            assert site.stage._fleet.windower.counts.taken_back == 0
            site.stage.close()  # what is kept for the case survives a restart
            site.kill()
    site.stage.close()
    rows = site.rows(records.INCIDENTS)[records.INCIDENTS]
    latest = {row["id"]: row for row in rows}.values()
    # What was opened by the hours that never were is resolved; the outage after them is found as ever.
    assert not [row for row in latest if row["resolved_at"] is None]
    found = [row for row in latest if row["kind"] == "outage"]
    assert [(row["provider"], row["opened_at"].value - START_NS) for row in found] == [("openai", 292 * MINUTE_NS)]
    counts = site.stage._fleet.windower.counts
    assert (counts.late, counts.taken_back) == (0, 1)
