"""What a simulated model says to a conversation: by the schema that is asked for, else by the kind of question. Pure for a seed.

Called by app.py. Skill and obedience come from the model's profile: a weak model is really wrong, and the same way each time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from agents.llm.simulated.code_critic import about_code, asks_for_revision, revise_code
from agents.llm.simulated.committee import COMPARISON, DESIGN, compare, design, is_member, speak
from agents.llm.simulated.conditions import misread
from agents.llm.simulated.conditions import of_prompt as conditions_of
from agents.llm.simulated.critic import JUDGEMENTS, Finding, is_judgement, judge
from agents.llm.simulated.datacode import asks_for_program, write_program
from agents.llm.simulated.network import about_network
from agents.llm.simulated.profiles import Kind, Profile
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.router_code import about_router
from agents.llm.simulated.routine import asks_for_routine, write_routine
from agents.llm.simulated.rules import words_of
from agents.llm.simulated.shapes import Context, make
from agents.llm.simulated.vocabulary import NEVER_NEGATIVE, NUMBER_WORDS, word_set
from agents.llm.simulated.voices import ANSWERS, QUESTIONS, STYLE, answers, questions, remarks
from agents.llm.simulated.words import free_text, kind_of_question, topic_of
from agents.records import Json
from agents.schema_check import compile_schema, resolve

MAX_FIELDS = 20
CONSTRAINTS = "constraints"
_EXTRACTING = re.compile(
    r"\b(extract|parse|read|identify|pull|find|fill in|from (?:the|this) (?:text|message|e-?mail|note|sentence))\b", re.I
)
_AS_JSON = re.compile(r"\b(?:as|in|return|valid|only|a|of)\s+(?:\w+\s+)?json\b|\bjson (?:object|array|list|only)\b", re.I)
_WITH = re.compile(
    r"\b(?:with|containing|including|having|fields?|keys?|properties|attributes|columns)\b:?\s+(?:the\s+|an?\s+)?(?:fields?|keys?)?:?\s*"
    r"([A-Za-z_][\w -]*(?:\s*(?:,|\band\b)\s*(?:an?\s+)?[A-Za-z_][\w -]*)*)"
)
_MANY = re.compile(rf"\b(\d{{1,4}}|{'|'.join(NUMBER_WORDS)})\s+(?:[\w-]+\s+){{0,2}}?([a-z]{{3,}}s)\b", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``data`` is what the text says as JSON, None for free text. ``structured``: JSON was asked for."""

    text: str
    data: Json = None
    structured: bool = False


def seed_of(*parts: Json) -> int:
    """The same for the same parts, over processes and machines."""
    raw = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=str)
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def answer(reading: Reading, profile: Profile, seed: int, *, json_mode: bool = False) -> Answer:
    """The whole answer of ``profile``'s model. ``json_mode``: JSON is asked for without a schema."""
    if asks_for_routine(reading):
        return Answer(text=write_routine(reading, profile.skill("code"), Random(seed ^ 0x2071)))
    if asks_for_program(reading):
        return Answer(text=write_program(reading, profile.skill("code"), Random(seed ^ 0xC0DE)))
    if asks_for_revision(reading):
        return Answer(text=revise_code(reading, profile.skill("code"), Random(seed ^ 0x2E51)))
    if is_member(reading):
        return Answer(text=speak(reading, profile.skill("critique"), Random(seed ^ 0x5EA7)))
    wanted = reading.wanted
    if wanted is None and (json_mode or _AS_JSON.search(reading.asked[:4000])):
        wanted = schema_of_words(reading.asked)
    kind = kind_of_question(reading.asked)
    if wanted is not None:
        return _structured(wanted, reading, profile, kind, seed)
    if kind == "critique":
        findings = judge(reading, profile.skill("critique"), Random(seed))
        if findings is not None:
            return Answer(text=_as_review(findings))
        kind = "words"
    skilled = Random(seed ^ 0x5EED).random() < profile.skill(kind)
    return Answer(text=free_text(reading.asked, kind, skilled=skilled, seed=seed, spoken=reading.spoken))


def _as_review(findings: Sequence[Finding]) -> str:
    if not findings:
        return "I found nothing to object to."
    return "\n".join(f"{n}. {finding.text}" for n, finding in enumerate(findings, start=1))


def arguments_for(schema: Json, reading: Reading, seed: int) -> Json:
    """The arguments of a tool call: what the conversation says of them, else made up."""
    text = reading.prose
    return make(schema, Context(data=reading.data, prose=text, everything=text, topic=topic_of(text), facts=text), seed=seed)


def _structured(wanted: Json, reading: Reading, profile: Profile, kind: Kind, seed: int) -> Answer:
    rng = Random(seed)
    root = wanted if isinstance(wanted, Mapping) else {}
    findings = None
    critical = profile.skill("critique")
    if reading.wanted_name == CONSTRAINTS:
        read = conditions_of(reading)
        if rng.random() >= profile.skill("extraction"):
            read = {"constraints": misread(read["constraints"], rng)}
        return Answer(text=_dumped(read), data=read, structured=True)
    if (said := about_code(reading, root, critical, Random(seed ^ 0xC0DEC))) is not None:
        return Answer(text=_dumped(said), data=said, structured=True)
    if (routed := about_router(reading, root, profile.skill("code"), Random(seed ^ 0x40073))) is not None:
        return Answer(text=_dumped(routed), data=routed, structured=True)
    if (told := about_network(reading, root, critical, Random(seed ^ 0x7E7))) is not None:
        return Answer(text=_dumped(told), data=told, structured=True)
    if reading.wanted_name in (DESIGN, COMPARISON):
        said = design(reading, root) if reading.wanted_name == DESIGN else compare(reading, critical, Random(seed ^ 0xC0BA))
        return Answer(text=_dumped(said), data=said, structured=True)
    if reading.wanted_name in (QUESTIONS, ANSWERS):
        asked = reading.wanted_name == QUESTIONS
        data = questions(reading, root, critical, Random(seed)) if asked else answers(reading, root)
        return Answer(text=_dumped(data), data=data, structured=True)
    if reading.wanted_name == STYLE and _judges(root, root, 0):
        findings = remarks(reading, critical, Random(seed ^ 0x57A1E))
    elif _judges(root, root, 0) or reading.wanted_name in JUDGEMENTS:
        findings = judge(reading, critical, Random(seed ^ 0xC417))
    extracting = kind == "extraction" or bool(_EXTRACTING.search(reading.asked[:2000]))
    own: Kind = "extraction" if extracting else kind if kind in ("classification", "plan") else "structured"
    skilled = rng.random() < profile.skill(own)
    context = Context(
        data=reading.data,
        prose=reading.prose if skilled or own != "classification" else "",
        everything=reading.all_text,
        topic=topic_of(reading.asked),
        facts=reading.prose if extracting and skilled else None,
        findings=findings,
    )
    data = make(root, context, seed=seed)
    if not skilled and own == "structured" and findings is None:
        data = _slipped(data, root, rng)
    if rng.random() < profile.schema_compliance:
        return Answer(text=_dumped(data), data=data, structured=True)
    return Answer(text=_disobedient(data, rng), structured=True)


def _judges(schema: Json, root: Mapping[str, Any], depth: int) -> bool:
    """Whether some object of the schema says what is wrong with something."""
    part = resolve(schema, root)
    properties = part.get("properties") if isinstance(part, Mapping) else None
    if not isinstance(properties, Mapping) or depth > 4:
        return False
    return is_judgement(properties) or any(_judges(inner, root, depth + 1) for inner in list(properties.values())[:100])


def _slipped(data: Json, schema: Mapping[str, Any], rng: Random) -> Json:
    """The data with one careless value in it that its schema allows: what a weak model gets wrong without breaking the form."""
    spots = list(_spots(data, 0))[:500]
    rng.shuffle(spots)
    validator = compile_schema(schema)
    for holder, key in spots[:6]:
        before, words = holder[key], words_of(key)
        if isinstance(before, str) and "email" in words:
            holder[key] = before.replace("@", " at ")
        elif isinstance(before, int | float) and not isinstance(before, bool) and before > 0 and NEVER_NEGATIVE & set(words):
            holder[key] = -before
        else:
            continue
        if validator.is_valid(data):
            return data
        holder[key] = before
    return data


def _spots(value: Json, depth: int) -> list[tuple[dict[str, Json], str]]:
    if depth > 20:
        return []
    if isinstance(value, dict):
        return [(value, key) for key in value] + [spot for inner in value.values() for spot in _spots(inner, depth + 1)]
    return [spot for inner in value[:50] for spot in _spots(inner, depth + 1)] if isinstance(value, list) else []


def _disobedient(data: Json, rng: Random) -> str:
    """The ways in which models miss a schema: prose around it, a field missing, a field of another type."""
    way = rng.randrange(3)
    if way == 0 or not isinstance(data, dict) or not data:
        shown = orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
        return f"Here is the result:\n\n```json\n{shown}\n```\n\nLet me know if anything should change."
    key = rng.choice(sorted(data))
    broken = {name: value for name, value in data.items() if name != key}
    if way == 1:
        broken[key] = {"value": str(data[key])[:40]}
    return _dumped(broken)


def _dumped(data: Json) -> str:
    return orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS).decode()


def schema_of_words(text: str) -> dict[str, Json]:
    """A schema for "three boats with a name, a price and a year as JSON"; an object of anything where no fields are named."""
    named = _WITH.search(text[:4000])
    fields = re.split(r",|\band\b", named[1]) if named else []
    names = [re.sub(r"^(?:an?|the|their|its)\s+", "", part.strip(), flags=re.I) for part in fields]
    names = [re.sub(r"\s+(?:as|in|for|of|from)\b.*$", "", name) for name in names]
    kept = [re.sub(r"[\s-]+", "_", name) for name in names if 0 < len(name) <= 30 and len(name.split()) <= 3][:MAX_FIELDS]
    thing: dict[str, Json] = {"type": "object", "properties": {name: {"type": _type_of(name)} for name in kept}, "required": kept}
    if not kept:
        thing = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    many = _MANY.search(text[:4000])
    if many is None or not kept:
        return thing
    word = many[1].lower()
    count = min(200, NUMBER_WORDS.get(word) or int(word))
    array = {"type": "array", "items": thing, "minItems": count, "maxItems": count}
    if re.search(r"\bjson (?:array|list)\b|\b(?:array|list) of\b", text, re.I):
        return array
    return {"type": "object", "properties": {many[2].lower(): array}, "required": [many[2].lower()]}


_WHOLE = word_set("age quantity qty count year stock number rooms floor day month seats id rank stars")
_DECIMAL = word_set("price cost amount total weight rating score height width latitude longitude salary")


def _type_of(name: str) -> str:
    last = words_of(name)[-1:] or ("",)
    if last[0] in _WHOLE:
        return "integer"
    if last[0] in _DECIMAL:
        return "number"
    return "boolean" if words_of(name)[:1] in (("is",), ("has",)) else "string"
