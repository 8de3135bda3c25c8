"""A table of parts of the fleet: each signal now, and what it was before. What is clearly worse is marked, in words and
colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from dashboard import parts
from dashboard.health import Health
from dashboard.queries import View

_WIDTH: Final = 150


def draw(
    found: Sequence[Health],
    names: Sequence[str],
    volume: tuple[str, str],
    signals: Mapping[str, str],
    *,
    empty: str,
    more: pd.DataFrame | None = None,
    columns: Mapping[str, object] | None = None,
    height: int | None = None,
    link: str = "",
) -> None:
    """One row a part. `names`: dimensions that name it; `volume`: signal whose trials are counted, and their name;
    `signals`: labels of columns by signal; `more`: further columns, by row; `link`: page that tells more of a part."""
    texts = pd.DataFrame({name: [getattr(one.place, name) or "(not said)" for one in found] for name in names})
    texts["volume"] = [one.value(volume[0]).n for one in found]
    marks = pd.DataFrame("", index=texts.index, columns=texts.columns)
    for signal in signals:
        values = [one.value(signal) for one in found]
        texts[signal] = [value.text for value in values]
        marks[signal] = [value.look for value in values]
    if more is not None:
        texts, marks = texts.join(more), marks.join(more.map(lambda _: ""))
    shown: dict[str, object] = {name: parts.text(name, 130) for name in names}
    shown["volume"] = parts.number(volume[1])
    shown |= {
        signal: parts.text(label, _WIDTH, f"{_sentence(found, signal)} Small: what it was before.")
        for signal, label in signals.items()
    }
    shown |= columns or {}
    if link and found:
        texts["open"] = [f"/{link}?{parts.query(one.place.values())}" for one in found]
        marks["open"] = ""
        shown["open"] = parts.link("more")
    parts.table(texts, shown, empty=empty, looks=marks, height=height)


def _sentence(found: Sequence[Health], signal: str) -> str:
    label = next((one.value(signal).shown.label for one in found), signal)
    return f"{label.capitalize()}."


def compared(view: View) -> str:
    """What "was" means, for people."""
    hours = (view.since - view.before).total_seconds() / 3600
    length = f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    return f"“was”: the {length} before this time range. ▲ ▼ clearly more or less than that."
