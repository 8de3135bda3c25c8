"""Parts of the documentation that are made from the code. `python -m tests.docs.generated` writes them anew."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Final, Union, get_args, get_origin

import orjson
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo

from detectors.incidents.incident import Kind
from detectors.incidents.kinds import READINGS
from detectors.windows.signals import DERIVED, SIGNALS
from dimwatch import telemetry
from dimwatch.app.api.application import bare
from dimwatch.app.configuration import setting_names, variable
from dimwatch.settings import Settings
from dimwatch.targets import QuietHours, Route, Target
from ingest import conventions
from ingest.conventions import FIELD_ORDER
from ingest.conventions.base import Convention
from tests.docs.targets import EXAMPLES

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"


def settings_table() -> str:
    """One table a group of settings."""
    groups: dict[str, list[str]] = {}
    for name in setting_names():
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    parts = []
    for group, names in groups.items():
        heading = f"## {group}\n\n{inspect.getdoc(_model(group))}\n\n" if group else "## General\n\n"
        rows = [_setting(name) for name in names]
        parts.append(heading + _table(("setting", "environment", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _setting(name: str) -> tuple[str, ...]:
    field = _model(name.rpartition(".")[0]).model_fields[name.rpartition(".")[2]]
    return f"`{name}`", f"`{variable(name)}`", _default(field), field.description or ""


def _model(group: str) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for part in filter(None, group.split(".")):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return "none" if not value.get_secret_value() else "a secret"
    if _is_size(field):
        return f"`{ByteSize(value).human_readable(separator=' ')}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _is_size(field: FieldInfo) -> bool:
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    return ByteSize in kinds


def metrics() -> dict[str, MetricWrapperBase]:
    """Every metric of `dimwatch.telemetry`, by the name that Prometheus shows."""
    found = {}
    for value in vars(telemetry).values():
        if isinstance(value, MetricWrapperBase):
            described = next(iter(value.describe()))
            found[described.name + ("_total" if described.type == "counter" else "")] = value
    return found


def metrics_table() -> str:
    """All metrics."""
    rows = []
    for name, metric in metrics().items():
        described = next(iter(metric.describe()))
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append((f"`{name}`", described.type, labels, described.documentation))
    return _table(("metric", "type", "labels", "meaning"), rows)


def convention_modules() -> dict[str, Convention]:
    """Convention files by module name."""
    found = {}
    for module in pkgutil.iter_modules(conventions.__path__):
        if module.name != "base":
            found[module.name] = importlib.import_module(f"ingest.conventions.{module.name}").CONVENTION
    return found


def routes_table() -> str:
    """What can be said of a route and of quiet hours."""
    parts = []
    for title, model in (("of a route", Route), ("of quiet hours", QuietHours)):
        parts.append(_table((title, "default", "meaning"), _fields(model)))
    return "\n\n".join(parts)


def targets_tables() -> str:
    """Every kind of target, with an example."""
    parts = []
    for model in get_args(Target):
        kind = get_args(model.model_fields["type"].annotation)[0]
        heading = f"### {kind}\n\n{inspect.getdoc(model)}\n\n```toml\n{EXAMPLES[kind]}```\n\n"
        own = [row for row in _fields(model) if row[0] not in ("`name`", "`type`")]
        parts.append(heading + _table((kind, "default", "meaning"), own))
    return "\n\n".join(parts)


def _fields(model: type[BaseModel]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _default(field)
        rows.append((f"`{field.alias or name}`", default, field.description or ""))
    return rows


def conventions_table() -> str:
    """All conventions, in the order of their fields."""
    files = {id(convention): name for name, convention in convention_modules().items()}
    rows = []
    for convention in FIELD_ORDER:
        name = files[id(convention)]
        doc = inspect.getdoc(importlib.import_module(f"ingest.conventions.{name}")) or ""
        line = " ".join(doc.split("\n\n")[0].split()).rstrip(".")
        told_by = f"`{convention.kind_attribute}`" if convention.kind_attribute else ""
        rows.append((f"`{convention.name}`", f"`{name}.py`", told_by, line.replace("|", "\\|")))
    return _table(("convention", "file", "attribute that tells the kind", "what it is"), rows)


def signals_table() -> str:
    """All signals, those that the engine makes itself after the ones they are made of."""
    rows = []
    for signal in SIGNALS:
        for one in (signal, *filter(None, [DERIVED.get(signal.name)])):
            pages = "yes" if one.pages and not one.symptom else "symptom" if one.pages else "no"
            cells = (one.subject.value, one.form.value, one.worse.value, pages, one.unit, one.means)
            rows.append((f"`{one.name}`", *cells))
    return _table(("signal", "about", "form", "worse", "pages", "unit", "what it is"), rows)


def kinds_table() -> str:
    """All kinds of incidents, what they mean and the signals that make them."""
    meanings = _enum_meanings(Kind)
    rows = []
    for kind in Kind:
        made_by = [f"`{signal}`" for signal, reading in READINGS.items() if reading.kind is kind]
        rows.append((f"`{kind.value}`", meanings[kind.name], ", ".join(made_by)))
    return _table(("kind", "what is going on", "signals that make it"), rows)


def _enum_meanings(enum: type) -> dict[str, str]:
    """The strings below the members of an enumeration."""
    (of,) = ast.parse(inspect.getsource(enum)).body
    assert isinstance(of, ast.ClassDef)
    found, name = {}, ""
    for node in of.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(str(node.value.value).split()).rstrip(".")
    return found


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "settings": settings_table,
    "metrics": metrics_table,
    "routes": routes_table,
    "targets": targets_tables,
    "conventions": conventions_table,
    "signals": signals_table,
    "kinds": kinds_table,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Files that are generated, in part or whole, and what they should hold."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        wanted = text
        for name, make in BLOCKS.items():
            block = f"<!-- begin {name} -->\n{make()}\n<!-- end {name} -->"
            pattern = rf"<!-- begin {name} -->.*?<!-- end {name} -->"
            wanted = re.sub(pattern, block.replace("\\", r"\\"), wanted, flags=re.DOTALL)
        if "<!-- begin " in text:
            yield path, wanted
    yield DOCS / "openapi.json", orjson.dumps(bare().openapi(), option=orjson.OPT_INDENT_2).decode() + "\n"


def main() -> None:
    """Write the pages."""
    for path, wanted in pages():
        path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
