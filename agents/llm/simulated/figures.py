"""Programs that work out one figure from numbers in a question: "the median of 3, 9 and 4". Pure; called by datacode.py."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from agents.llm.simulated.code import function_body
from agents.records import Json

_NUMBER: Final = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
_INTEREST: Final = re.compile(r"compound|interest", re.I)
_INTEREST_BODY: Final = (
    'rate = inputs["percent"] / 100\nvalue = inputs["principal"]\n'
    'for _ in range(int(inputs["years"])):\n    value = value * (1 + rate)\nreturn round(value, 2)'
)


def figure_program(question: str, *, skilled: bool, rng: Random) -> tuple[dict[str, Json], str]:
    """(parameters, code)."""
    numbers = [float(one.replace(",", "")) for one in _NUMBER.findall(question)]
    plain: list[Json] = [int(one) if one.is_integer() else one for one in numbers]
    rate = re.search(r"(\d+(?:\.\d+)?)\s?(?:%|percent)", question)
    years = re.search(r"(\d+)\s+(?:years?|terms?|periods?)", question)
    if _INTEREST.search(question) and rate and years and numbers:
        parameters: dict[str, Json] = {"principal": max(numbers), "percent": float(rate[1]), "years": int(years[1])}
        body = _INTEREST_BODY
        if not skilled:
            body = body.replace("value * (1 + rate)", "value + rate")
    elif len(plain) == 1:
        parameters = {"n": plain[0]}
        body = function_body(question, ("n",), skilled=skilled, rng=rng)
    else:
        parameters = {"values": plain}
        body = function_body(question, ("values",), skilled=skilled, rng=rng)
    inner = "\n".join(f"    {line}" for line in body.split("\n"))
    again = 'checks = {"the same when worked out again": work_out(inputs) == result}'
    ending = f'def run(inputs):\n    result = work_out(inputs)\n    {again}\n    return {{"result": result, "checks": checks}}'
    return parameters, f"def work_out(inputs):\n{inner}\n\n\n{ending}\n"
