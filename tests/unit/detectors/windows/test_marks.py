"""How far all sources have judged."""

from __future__ import annotations

import pytest

from detectors.windows.marks import DOUBT_NS, PATIENCE_NS, Marks

NOW = 1_800_000_000 * 10**9
SECOND = 10**9


def tell(marks: Marks, at_ns: int, *sources: str, of: int = 2, behind: bool = False) -> None:
    for source in sources:
        for kind in ("points", "sightings"):
            marks.tell(source, kind, at_ns, of, behind=behind)


def test_nothing_is_known_before_all_have_spoken() -> None:
    marks = Marks()
    tell(marks, NOW, "worker-0")
    assert marks.watermark_ns is None
    tell(marks, NOW - 5 * SECOND, "worker-1")
    assert marks.watermark_ns == NOW - 5 * SECOND


def test_who_never_speaks_is_given_up() -> None:
    marks = Marks()
    for second in range(0, 600, 10):
        tell(marks, NOW + second * SECOND, "worker-0")
        assert marks.watermark_ns is None
    tell(marks, NOW + PATIENCE_NS + SECOND, "worker-0")
    assert marks.watermark_ns == NOW + PATIENCE_NS + SECOND


def test_who_is_far_behind_is_not_waited_for_until_it_is_back() -> None:
    marks = Marks()
    tell(marks, NOW, "worker-0", "worker-1")
    tell(marks, NOW + PATIENCE_NS, "worker-0")
    assert marks.watermark_ns == NOW + PATIENCE_NS
    tell(marks, NOW + PATIENCE_NS - SECOND, "worker-1")
    assert marks.watermark_ns == NOW + PATIENCE_NS - SECOND


def backlog(marks: Marks, *, slow_s: int, until_s: int = 3 * 3600) -> None:
    """All stop for hours; then worker-0 works off 300 s at a time, and worker-1 so much as worker-0 does that."""
    tell(marks, NOW, "worker-0", "worker-1")
    for step in range(1, until_s // 300 + 1):
        tell(marks, NOW + step * 300 * SECOND, "worker-0", behind=True)
        tell(marks, NOW + step * slow_s * SECOND, "worker-1", behind=True)


def test_who_works_off_a_backlog_is_waited_for_however_far_others_are() -> None:
    marks, slow, at = Marks(), NOW + 36 * 100 * SECOND, NOW + 3 * 3600 * SECOND
    backlog(marks, slow_s=100)
    assert marks.watermark_ns == slow
    while slow < at:  # worker-0 is through, and tells the time
        assert marks.watermark_ns == slow
        at, slow = at + 10 * SECOND, slow + 30 * SECOND
        tell(marks, at, "worker-0")
        tell(marks, slow, "worker-1", behind=True)
    tell(marks, at, "worker-1")
    assert marks.watermark_ns == at


@pytest.mark.parametrize("speed", [0, 1])
def test_who_does_not_catch_up_is_given_up(speed: int) -> None:
    marks, slow, at = Marks(), NOW + 36 * 100 * SECOND, NOW + 3 * 3600 * SECOND
    backlog(marks, slow_s=100)
    for second in range(10, 1201, 10):
        tell(marks, at + second * SECOND, "worker-0")
        if speed:
            tell(marks, slow + second * SECOND, "worker-1", behind=True)
        if second < 300:
            assert marks.watermark_ns == slow + second * speed * SECOND
    at += 1200 * SECOND
    assert marks.watermark_ns == at
    tell(marks, at - 900 * SECOND, "worker-1", behind=True)  # too late: minutes have been closed without it
    assert marks.watermark_ns == at
    tell(marks, at - 300 * SECOND, "worker-1")
    assert marks.watermark_ns == at - 300 * SECOND


def test_who_is_dead_is_given_up_also_while_all_others_are_behind() -> None:
    marks = Marks()
    backlog(marks, slow_s=0, until_s=3 * 3600)
    assert marks.watermark_ns == NOW
    for step in range(40):
        tell(marks, NOW + 3 * 3600 * SECOND + step * 300 * SECOND, "worker-0", behind=True)
    assert marks.watermark_ns == NOW + 3 * 3600 * SECOND + 39 * 300 * SECOND


def test_a_restart_takes_nothing_back() -> None:
    marks = Marks()
    tell(marks, NOW, "worker-0", "worker-1")
    tell(marks, 0, "worker-0")
    tell(marks, NOW - 20 * SECOND, "worker-0")
    assert marks.watermark_ns == NOW


def test_a_leap_counts_when_it_lasts_and_for_all_that_have_leapt() -> None:
    marks, leap = Marks(), 6 * 3600 * SECOND
    tell(marks, NOW, "worker-0", "worker-1")
    for second in range(0, DOUBT_NS // SECOND, 10):
        tell(marks, NOW + leap + second * SECOND, "worker-0", "worker-1")
        assert marks.watermark_ns == NOW
        assert not marks.leapt
    marks.tell("worker-0", "points", NOW + leap + DOUBT_NS, 2)
    assert marks.leapt
    assert marks.watermark_ns == NOW + leap + DOUBT_NS - 10 * SECOND


def test_a_leap_that_is_taken_back_at_once_leaves_no_trace() -> None:
    marks = Marks()
    tell(marks, NOW, "worker-0", "worker-1")
    tell(marks, NOW + 6 * PATIENCE_NS, "worker-0", "worker-1")
    tell(marks, NOW + 10 * SECOND, "worker-0", "worker-1")
    tell(marks, NOW + 7 * PATIENCE_NS, "worker-0")  # hours later, another one
    assert marks.watermark_ns == NOW + 10 * SECOND
    assert not marks.leapt


def test_sources_of_another_number_of_partitions_are_not_waited_for() -> None:
    marks = Marks()
    tell(marks, NOW, "worker", of=1)
    tell(marks, NOW + SECOND, "worker-0", of=1)
    tell(marks, NOW + 60 * SECOND, "worker-0", of=1)
    assert marks.watermark_ns == NOW + 60 * SECOND


def test_recordings_may_leap() -> None:
    marks = Marks()
    marks.tell("replay", "points", NOW)
    marks.tell("replay", "points", NOW + 24 * PATIENCE_NS)
    assert marks.watermark_ns == NOW + 24 * PATIENCE_NS


def test_what_is_kept_goes_on_as_if_nothing_had_happened() -> None:
    marks, again = Marks(), Marks()
    tell(marks, NOW, "worker-0", "worker-1")
    tell(marks, NOW + 6 * PATIENCE_NS, "worker-0", "worker-1")
    again.load(marks.state())
    for of in (marks, again):
        tell(of, NOW + 6 * PATIENCE_NS + DOUBT_NS, "worker-0")
    assert again.watermark_ns == marks.watermark_ns == NOW + 6 * PATIENCE_NS
    assert again.state() == marks.state()
