"""How the notebooks' charts look, and the connection to the store."""

from __future__ import annotations

import os

import altair as alt
import clickhouse_connect
from clickhouse_connect.driver.client import Client

INK, SOFT, LINE = "#28323c", "#7a8691", "#e3e7ea"
BAD, CALM = "#d9622b", "#b9c4cc"
CLASSES = {
    "fine": "#7fa8a3",
    "rescued": "#5b8def",
    "incomplete": "#c3cad0",
    "reported error": "#b0566e",
    "green but failed": "#e8890c",
}
"""What became of a run, in the dashboard's colours."""


def connect() -> Client:
    """The store that `DIMWATCH_STORE__HOST` and its like name; without them the one of `make demo` on this machine.

    Times come in UTC and without a zone, so that pictures are the same wherever they are made.
    """

    def said(name: str, default: str) -> str:
        return os.environ.get(f"DIMWATCH_STORE__{name}", default)

    return clickhouse_connect.get_client(
        host=said("HOST", "127.0.0.1"),
        port=int(said("HTTP_PORT", "8123")),
        username=said("USER", "default"),
        password=said("PASSWORD", ""),
        database=said("DATABASE", "dimwatch"),
        secure=said("TLS", "").lower() in ("1", "true"),
        ca_cert=said("TLS_CA", "") or None,
    )


@alt.theme.register("dimwatch", enable=True)
def _theme() -> alt.theme.ThemeConfig:
    quiet = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    return {
        "config": {
            "font": "Inter, Helvetica Neue, Arial, sans-serif",
            "background": "#ffffff",
            "padding": 18,
            "view": {"stroke": None},
            "title": {
                "anchor": "start", "color": INK, "fontSize": 16, "fontWeight": 600, "offset": 14,
                "subtitleColor": SOFT, "subtitleFontSize": 12, "subtitlePadding": 6,
            },
            "axis": {
                **quiet, "domain": False, "ticks": False, "gridColor": LINE, "labelPadding": 7, "titlePadding": 10,
            },
            "axisX": {"grid": False},
            "header": {"labelColor": INK, "labelFontSize": 12, "title": None},
            "legend": {**quiet, "title": None, "orient": "top", "symbolType": "circle", "offset": 4},
            "range": {"category": ["#6c8fd6", "#5fa8a0", "#c7a14a", "#a884c4", "#7d93a8", "#b98a6b", "#98a2ad"]},
        }
    }  # fmt: skip
