"""Where each setting comes from: flags over environment over a TOML file over defaults."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from detectors.declared import check
from detectors.notify import declared as notify_declared
from dimwatch.errors import InvalidError, PermanentError
from dimwatch.settings import Settings

CONFIG_NAME: Final = "dimwatch.toml"
_PREFIX: Final = "DIMWATCH_"
_NESTED: Final = "__"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings, and for each (by its dotted name) who said so."""

    settings: Settings
    origins: Mapping[str, str]


def resolve(flags: Mapping[str, object] | None = None, config: Path | None = None) -> Resolved:
    """Read all sources; `flags` maps dotted names to values, None meaning "not given".

    Without `config`, `dimwatch.toml` is read from the data folder or else from the working directory, if it is
    there. Raises PermanentError that names the setting, its source and the remedy.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    environment = _flat(EnvSettingsSource(Settings)())
    data = Path(str(given.get("data") or environment.get("data") or Settings.model_fields["data"].default))
    path = _config_path(config, data)
    layers = [
        ("flag", given),
        ("environment", environment),
        (f"file {path}", _flat(_read_toml(path)) if path else {}),
    ]
    known = set(setting_names())
    merged: dict[str, object] = {}
    origins = dict.fromkeys(known, "default")
    for origin, values in reversed(layers):
        for name, value in values.items():
            if name not in known:
                raise PermanentError(_unknown(name, origin, known))
            merged[name], origins[name] = value, origin
    try:
        settings = Settings.model_validate(_nested(merged))
    except ValidationError as error:
        raise PermanentError(_explain(error, origins)) from None  # the cause repeats values, and they may be secret
    try:
        check(settings.detection.slos)
    except InvalidError as error:
        raise PermanentError(f"setting detection.slos ({origins['detection.slos']}): {error}") from error
    try:
        notify_declared.check(settings.notify.routes)
    except InvalidError as error:
        raise PermanentError(f"setting notify.routes ({origins['notify.routes']}): {error}") from error
    settings.data = settings.data.expanduser().absolute()
    return Resolved(settings, origins)


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def value_of(settings: Settings, name: str) -> object:
    """The value of the setting with that dotted name."""
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def variable(name: str) -> str:
    """The environment variable of a setting: `receiver.grpc_port` is `DIMWATCH_RECEIVER__GRPC_PORT`."""
    return _PREFIX + name.replace(".", _NESTED).upper()


def as_environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with exactly these settings in it: how processes are handed them, secrets included.

    The environment of a process can be read by its own user only; a command line can be read by everybody, and
    a file would put the secrets on disk.
    """
    environment = {key: value for key, value in base.items() if not key.startswith(_PREFIX)}
    for name in setting_names():
        value = value_of(settings, name)
        if value is not None:
            environment[variable(name)] = _text(value)
    return environment


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings of Dimwatch and are none: most likely misspelt."""
    known = {variable(name) for name in setting_names()}
    return sorted(key for key in environment if key.startswith(_PREFIX) and key not in known)


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (list, tuple, dict)):
        return orjson.dumps(value, default=_plain).decode()
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.model_dump() if isinstance(value, BaseModel) else str(value)


def _config_path(config: Path | None, data: Path) -> Path | None:
    if config is not None:
        return config
    return next((path for path in (data / CONFIG_NAME, Path(CONFIG_NAME)) if path.is_file()), None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PermanentError(f"can not read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"{path} is not valid TOML: {error}") from error


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return tree


def _unknown(name: str, origin: str, known: set[str]) -> str:
    shown = variable(name) if origin == "environment" else name
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {variable(close[0]) if origin == 'environment' else close[0]}?" if close else ""
    return f"unknown setting {shown} ({origin}); {hint or '`dimwatch doctor` lists all settings'}"


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        parts = [str(part) for part in detail["loc"]]
        name = ".".join(parts)
        outer = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        origin = next((origins[setting] for setting in outer if setting in origins), "unknown origin")
        lines.append(f"setting {name} ({origin}): {detail['msg']}")
    return "\n".join(lines)
