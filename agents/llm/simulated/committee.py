"""Sitting in a committee, as the pretender does it: designing one, speaking as a member, comparing two answers. Pure for a seed.

Called by answers.py. All of it is read out of the request and of what was said; nothing is made up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from agents.llm.simulated.critic import judge
from agents.llm.simulated.lexicon import words_in
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.vocabulary import STOP
from agents.llm.simulated.words import keywords, topic_of
from agents.records import Json

DESIGN: Final = "committee_design"
COMPARISON: Final = "comparison"
MAX_NAMED: Final = 4
_MEMBER: Final = re.compile(r"\bmember of a (?:committee|panel|board)\b", re.I)
_SPECIALITY: Final = re.compile(r"\bspeciality: ([^\n]{1,120}?)(?:\. |\n|$)", re.I)
_SIDES: Final = re.compile(r"\bAGREE\b[^\n]{0,200}\bOBJECT\b")
_REQUEST: Final = re.compile(
    r"^The request:\s*\n(.*?)(?=\n\n?(?:The form of the answer|What the committee|The chairperson's|Give your)|\Z)", re.S | re.M
)
_SAID: Final = re.compile(r"^What the committee has said so far:\s*\n(.*?)(?=\n\nThis is round|\Z)", re.S | re.M)
_FORM: Final = re.compile(r"^The form of the answer\b", re.M)
_SPEAKER: Final = re.compile(r"^(?:user|system|assistant): ", re.M)
_PAIR: Final = re.compile(
    r"^The request:\s*\n(?P<request>.*)\n\s*The first answer:\s*\n(?P<first>.*)\n\s*The second answer:\s*\n(?P<second>.*)\Z",
    re.S | re.M,
)
_COMPUTING: Final = re.compile(
    r"\b(calculat\w+|comput\w+|statistic\w*|mean|deviation|distribut\w+|correlat\w+|simulat\w+|sum|average)\b", re.I
)


def is_member(reading: Reading) -> bool:
    """Whether the conversation wants to hear a member of a committee."""
    first = reading.text(0) if reading.messages else ""
    return reading.schema is None and bool(_MEMBER.search(first[:2_000]))


def design(reading: Reading, schema: Mapping[str, Any]) -> dict[str, Json]:
    """A committee for the request: somebody who knows its field, and whoever its form and its words call for."""
    request = _SPEAKER.sub("", reading.question)
    topic = topic_of(_FORM.split(request, maxsplit=1)[0].removeprefix("The request:")) or "the subject"
    people: list[tuple[str, str, bool]] = [(f"Expert on {topic}"[:60], f"Say what is true of {topic}.", False)]
    if "JSON Schema" in request:
        people.append(("Data structure designer", "See that every field is there and that fields agree.", False))
    if _COMPUTING.search(request):
        people.append(("Statistics expert", "See that the figures are exact.", False))
        people.append(("Code generator", "Write the program that works the figures out.", True))
    people.append(("Requirements reader", "Hold the answer against every word of the request.", False))
    people.append(("Devil's advocate", "Look for what could be wrong.", False))
    properties: Mapping[str, Any] = schema.get("properties") or {}
    listed = properties.get("members") or {}
    most = listed.get("maxItems") if isinstance(listed, Mapping) else None
    chosen = people[: most if isinstance(most, int) else 4]
    rounds = properties.get("rounds") or {}
    return {
        "members": [{"speciality": who, "task": task, "writes_code": code} for who, task, code in chosen],
        "chairperson": "Integration specialist",
        "rounds": min(3, rounds.get("maximum", 3)) if isinstance(rounds, Mapping) else 3,
    }


def speak(reading: Reading, skill: float, rng: Random) -> str:
    """What a member says: what of the request it wants in the answer; of what others said, what they leave out."""
    asked = reading.question
    found = _REQUEST.search(asked)
    request = _SPEAKER.sub("", found[1] if found else asked)
    who = _SPECIALITY.search(reading.text(0))
    name = who[1] if who else "my speciality"
    wanted = [word for word in keywords(request, 20) if word.lower() not in STOP and len(word) > 3]
    said = _SAID.search(asked)
    if said is None:
        mine = wanted[rng.randrange(3) :: 3][:MAX_NAMED] or wanted[:MAX_NAMED]
        listed = ", ".join(mine) or "what is asked"
        return f"As {name} I want the answer to speak of {listed}, and to keep every figure as it is given."
    heard = {word[:5] for word in words_in(said[1])}
    left = [word for word in wanted if word.lower()[:5] not in heard and rng.random() < skill]
    sides = _SIDES.search(asked) is not None
    if not left:
        return f"As {name} I find in what was said all that the request asks for." + ("\nAGREE" if sides else "")
    words = ", ".join(left[:MAX_NAMED])
    return f"As {name} I miss {words}: the request asks for it." + (f"\nOBJECT: nobody speaks of {words}" if sides else "")


def compare(reading: Reading, skill: float, rng: Random) -> dict[str, Json]:
    """The better one of two answers: the one with fewer defects, then the one that covers more of the request."""
    found = _PAIR.search(reading.question)
    if found is None:
        return {"better": "equal", "reason": "there are no two answers"}
    request = _SPEAKER.sub("", found["request"])
    scores = [_worth(request, found[name].strip(), skill, Random(rng.random())) for name in ("first", "second")]
    if scores[0] == scores[1]:
        return {"better": "equal", "reason": "Neither has a defect that the other one has not."}
    better, worse = ("first", "second") if scores[0] > scores[1] else ("second", "first")
    return {"better": better, "reason": f"The {worse} one has more defects, or leaves more of the request open."}


def _worth(request: str, answer: str, skill: float, rng: Random) -> tuple[int, int]:
    told = ({"role": "user", "content": f"The request:\n{request}\n\nThe answer:\n{answer}"},)
    defects = judge(Reading(told), skill, rng) or ()
    heard = {word[:5] for word in words_in(answer)}
    return -len(defects), sum(word.lower()[:5] in heard for word in keywords(request, 20))
