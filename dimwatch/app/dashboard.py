"""The dashboard process: Streamlit's server with our pages, quiet and closed to the outside."""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Final

from streamlit.web import bootstrap

from dashboard import warm
from dashboard.source import configure
from dimwatch.app.configuration import as_environment
from dimwatch.app.coverage import coverage
from dimwatch.app.standalone import Health
from dimwatch.errors import PermanentError
from dimwatch.settings import Settings

_OPTIONS: Final[dict[str, object]] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.enableRich": False,
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.fileWatcherType": "none",
    "server.enableAgentApi": False,
    "server.headless": True,
    "server.maxMessageSize": 64,  # MB, of a table or a payload
    "server.maxUploadSize": 1,  # no page takes a file
    "server.maxWidgetStateSize": 1,  # nor more than some hundred letters
    "server.runOnSave": False,
    "server.showEmailPrompt": False,
    "server.websocketPingInterval": 30,  # seconds; who has not answered after as long again is given up
    "theme.baseFontSize": 13,
    "theme.baseRadius": "6px",
    "theme.metricValueFontSize": "1.7rem",
    "theme.paddingTop": "1rem",
    "theme.showWidgetBorder": True,
    "theme.light.primaryColor": "#b86a00",
    "theme.light.backgroundColor": "#fbfbfa",
    "theme.light.secondaryBackgroundColor": "#f1f1ef",
    "theme.light.textColor": "#23282e",
    "theme.light.borderColor": "#e1e1dd",
    "theme.dark.primaryColor": "#e8a13c",
    "theme.dark.backgroundColor": "#14171b",
    "theme.dark.secondaryBackgroundColor": "#1c2026",
    "theme.dark.textColor": "#dfe3e8",
    "theme.dark.borderColor": "#2b3038",
}


def run(settings: Settings, health: Health) -> None:  # its port says how it is
    """Serve until SIGTERM or SIGINT. Raises PermanentError when the port is not to be had."""
    place = settings.dashboard
    _require_free(place.host, place.port)
    configure(settings, _sight, as_environment(settings, os.environ))
    address = {"server.address": place.host, "server.port": place.port}
    options = {**_OPTIONS, **address, **_secrets(settings)}
    bootstrap.load_config_options(options)
    warm.up()
    script = resources.files("dashboard").joinpath("app.py")
    bootstrap.run(str(script), False, [], options)  # once more: it reads all anew when a config.toml changes


def _secrets(settings: Settings) -> dict[str, object]:
    """Where Streamlit finds the provider that people sign in with. Raises PermanentError where that is not said."""
    path = settings.data / "secrets.toml"
    if settings.dashboard.sign_in != "oidc":
        return {}
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PermanentError(
            f'dashboard.sign_in = "oidc" needs {path} with the provider, which can not be read: {error}; '
            "docs/security.md shows one"
        ) from error
    if missing := {"redirect_uri", "cookie_secret", "client_id", "server_metadata_url"} - told.get("auth", {}).keys():
        raise PermanentError(f"{path}: [auth] lacks {', '.join(sorted(missing))}; docs/security.md shows one")
    return {"secrets.files": [str(path)]}


def _sight(counts: Sequence[object]) -> tuple[Sequence[str], Sequence[str]]:
    seen = coverage(counts)
    return seen.blind, seen.partly


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PermanentError(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it or set DIMWATCH_DASHBOARD__PORT"
            ) from error
