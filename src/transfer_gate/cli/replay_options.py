"""How fast a replay may go, as people write it."""

import math
from typing import Any, Final

import click

_PER: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate(click.ParamType):
    """Records in a time: `500/s`, `6000/m`, or plain `500` a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Records a second."""
        if isinstance(value, float):
            return value
        number, _, unit = str(value).partition("/")
        try:
            rate = float(number) / _PER[unit or "s"]
        except (ValueError, KeyError):
            self.fail("not a rate such as 500/s or 6000/m", param, ctx)
        if not (rate > 0 and math.isfinite(rate)):
            self.fail("must be above 0", param, ctx)
        return rate
