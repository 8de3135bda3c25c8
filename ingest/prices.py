"""What model calls cost: a versioned price table as data, and its application to span columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dimwatch.errors import PermanentError
from dimwatch.records import SPAN


class ModelPrice(BaseModel):
    """Prices of the models whose name (lower case) the expression finds, in USD per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str
    input: float = Field(ge=0)
    cached: float = Field(ge=0)
    output: float = Field(ge=0)


class PriceTable(BaseModel):
    """The first entry that matches a model's name holds."""

    model_config = ConfigDict(frozen=True)

    version: str
    models: tuple[ModelPrice, ...]


@dataclass(slots=True)
class Prices:
    """A price table in use, optionally with another one before it."""

    tables: tuple[PriceTable, ...]

    @classmethod
    def load(cls, override: Path | None = None) -> Prices:
        """The built-in table, after that of `override` if there is one.

        Raises PermanentError, naming the file, when `override` can not be read.
        """
        builtin = PriceTable.model_validate_json(files("ingest").joinpath("prices.json").read_text())
        if override is None:
            return cls((builtin,))
        try:
            return cls((PriceTable.model_validate_json(override.read_text()), builtin))
        except (OSError, ValidationError) as error:
            raise PermanentError(f"prices.file {override}: {error}") from error

    def of(self, model: str) -> ModelPrice | None:
        """The price of a model, None if no entry matches."""
        return next(
            (
                price
                for table in self.tables
                for price in table.models
                if _expression(price.match).search(model.lower())
            ),
            None,
        )

    def with_cost(self, spans: pa.Table) -> pa.Table:
        """Fill `cost_usd` of model calls that do not report their own cost. Which of them count, `counted` says."""
        answered, asked = spans["response_model"], spans["request_model"]
        model = pc.if_else(pc.equal(answered, ""), asked, answered).combine_chunks()
        priced = pc.is_in(spans["kind"], _PRICED_KINDS)
        wanted = pc.and_(priced, pc.is_null(spans["cost_usd"])).to_numpy()
        if not wanted.any():
            return spans
        encoded = model.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        prices = [self.of(name) if name else None for name in encoded.dictionary.to_pylist()]
        table = np.array(
            [(p.input, p.cached, p.output) if p else (np.nan, np.nan, np.nan) for p in prices], dtype=np.float64
        ).reshape(-1, 3)[codes]
        inputs, outputs = _floats(spans["input_tokens"]), _floats(spans["output_tokens"])
        cached = np.minimum(np.nan_to_num(_floats(spans["cache_read_tokens"])), np.nan_to_num(inputs))
        cost = ((inputs - cached) * table[:, 0] + cached * table[:, 1] + np.nan_to_num(outputs) * table[:, 2]) / 1e6
        own = _floats(spans["cost_usd"])
        filled = np.where(wanted, cost, own)
        column = pa.array(filled, mask=np.isnan(filled))
        return spans.set_column(spans.schema.get_field_index("cost_usd"), SPAN.field("cost_usd"), column)


_PRICED_KINDS: Final = pa.array(["llm", "embedding"])


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = pc.cast(column, pa.float64()).to_numpy()
    return values
