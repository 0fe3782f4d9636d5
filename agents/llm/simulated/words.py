"""Free text: what a simulated model answers to a question without a schema, by the kind of the question. Pure for a seed.

Called by answers.py. Skilled answers are right (sums, extraction, the sentences that matter); unskilled ones miss in usual ways.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from agents.llm.simulated import facts
from agents.llm.simulated.arithmetic import calculation, shown
from agents.llm.simulated.code import write_code
from agents.llm.simulated.entity import seeded_faker
from agents.llm.simulated.lexicon import choose, words_in
from agents.llm.simulated.profiles import Kind
from agents.llm.simulated.translation import translate
from agents.llm.simulated.vocabulary import NUMBER_WORDS, STOP

MAX_ITEMS = 100
MAX_SENTENCES = 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    (
        "code",
        r"\b(?:write|implement|create|generate|give|show)\b[^.]{0,80}\b(?:function|code|program|script|python)\b|def run\(",
    ),
    ("translation", r"\btranslat\w+\b|\bin (?:french|spanish|german|italian)\b"),
    ("summary", r"\b(?:summari[sz]e|summary|tl;?dr|sum up|in short|condense|shorten)\b"),
    (
        "classification",
        r"\b(?:classif\w+|categori[sz]e|label|sentiment)\b|\bwhich (?:category|class|label|team|department|of these)\b",
    ),
    (
        "extraction",
        r"\b(?:extract|find all|pull out|identify (?:the|all|every))\b"
        r"|\blist (?:all|every|the) (?:e-?mails?|names?|dates?|numbers?|urls?|phones?|people)\b",
    ),
    (
        "critique",
        r"\b(?:review|critique|criticise|what is wrong|what's wrong|proofread)\b"
        r"|\bfind (?:the )?(?:errors|mistakes|problems|issues)\b",
    ),
    (
        "lists",
        r"\blist\b|\b(?:name|names|suggest|brainstorm|give|ideas?)\b.{0,40}?"
        r"\b(?:\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|twelve|some|several|ideas)\b",
    ),
    ("plan", r"\b(?:plan|steps|roadmap|schedule|itinerary|how (?:do|can|should) (?:i|we)|how to)\b"),
)
_KINDS = tuple((kind, re.compile(pattern, re.I | re.S)) for kind, pattern in _PATTERNS)


def kind_of_question(text: str) -> Kind:
    """What kind of question it is, by its words."""
    head = text[:4000]
    if _KINDS[0][1].search(head):
        return "code"
    if len(head) < 1500 and calculation(head) is not None and not re.search(r"\b(summari|extract|classif|translat)", head, re.I):
        return "maths"
    return next((kind for kind, pattern in _KINDS if pattern.search(head)), "words")


def keywords(text: str, limit: int = 12) -> list[str]:
    """The words that carry the meaning, in order, each once, as they were written."""
    found: dict[str, str] = {}
    for word in re.findall(r"[A-Za-zÀ-ÿ][\wÀ-ÿ'-]{2,}", text[:8000]):
        if word.lower() not in STOP:
            found.setdefault(word.lower(), word)
    return list(found.values())[:limit]


def topic_of(text: str) -> str:
    """What a question is about, in at most four words that stand together in it."""
    best: list[str] = []
    for clause in re.split(r"[.,;:!?()\n]", text[:2000]):
        run: list[str] = []
        for word in clause.split():
            plain = word.strip("\"'`*#")
            if plain.lower() in STOP or not re.match(r"[A-Za-zÀ-ÿ]{3}", plain):
                run = []
                continue
            run.append(plain)
            if sum(map(len, run[-4:])) > sum(map(len, best)):
                best = run[-4:]
    return " ".join(best)


def free_text(question: str, kind: Kind, *, skilled: bool, seed: int, spoken: str = "") -> str:
    """The answer to ``question``; ``spoken`` is the text of the conversation before it (for what "this" means)."""
    rng = Random(seed)
    if kind == "code":
        return write_code(question, skilled=skilled, rng=rng)
    if kind == "maths":
        return _maths(question, skilled, rng)
    if kind == "critique":
        return ""  # answers.py knows the data; it never comes here
    return _BY_KIND.get(kind, _plain)(question, spoken, skilled, rng, seeded_faker(seed))


def _maths(question: str, skilled: bool, rng: Random) -> str:
    value = calculation(question)
    if value is None:
        return "There is nothing to calculate in that."
    if not skilled:
        value += rng.choice((-10, -2, -1, 1, 2, 9)) * (10 if abs(value) > 1000 else 1)
    said = shown(value)
    return said if rng.random() < 0.4 else f"The result is {said}."


def _body(question: str, spoken: str) -> str:
    """The text that a question is about: what follows its first line or colon, a quoted part, else what was said before."""
    quoted = re.search(r"[\"“”]{1,3}(.{20,}?)[\"“”]{1,3}(?:\s|$)", question, re.S)
    if quoted:
        return quoted[1].strip()
    head, colon, rest = question.partition(":")
    if colon and len(rest.strip()) > 15 and len(head) < 300:
        return rest.strip()
    head, newline, rest = question.partition("\n")
    if newline and len(rest.strip()) > 15:
        return rest.strip()
    return spoken.strip() if len(spoken.strip()) > 40 and len(question) < 120 else question


def _wanted_count(question: str, default: int, unit: str = r"\w+") -> int:
    words = "|".join(NUMBER_WORDS)
    match = re.search(rf"\b(\d{{1,4}}|{words})\b(?:\s+[\w-]+){{0,3}}?\s+(?:{unit})\b", question, re.I)
    if match is None:
        return default
    word = match[1].lower()
    return max(1, min(MAX_ITEMS, NUMBER_WORDS.get(word, 0) or int(word if word.isdigit() else default)))


def _summary(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    body = _body(question, spoken)
    sentences = [s.strip() for s in _SENTENCE.split(body[:40_000]) if len(s.split()) > 2]
    if len(sentences) < 2:
        return _plain(question, spoken, skilled, rng, faker)
    count = _wanted_count(question.replace(body, ""), max(1, min(3, len(sentences) // 3)), "sentences?|lines?|points?|bullets?")
    if not skilled:
        return " ".join(sentences[:count])
    weight = Counter(word for word in words_in(body) if word not in STOP and len(word) > 3)
    scores = {n: sum(weight[w] for w in set(words_in(s))) / (8 + len(s.split())) for n, s in enumerate(sentences)}
    best = sorted(sorted(scores, key=lambda n: (-scores[n], n))[:count])
    return " ".join(sentences[n] if sentences[n][-1:] in ".!?" else f"{sentences[n]}." for n in best)


def labels_in(question: str) -> list[str]:
    """The labels that a question offers: "as red, green or blue", "(a/b/c)", "one of: x, y"."""
    for pattern in (
        r"\b(?:one of|categories|labels|classes|options|teams|departments)\b[^:\n]{0,40}:?\s*\(?([^.\n)]+)",
        r"\b(?:as|into|either|between|is it|among)\s+:?\s*([^.:?\n]+?\b(?:or|and)\s+[\w -]{2,30})",
        r"\(([^)\n]+(?:,|/|\|)[^)\n]+)\)",
        r"\b([\w-]+(?:\s*\|\s*[\w-]+)+)",
    ):
        match = re.search(pattern, question, re.I)
        if match is None:
            continue
        parts = re.split(r",|/|\||;|\bor\b|\band\b", match[1])
        labels = [re.sub(r"^(?:an?|the|either)\s+", "", part.strip(" \"'`*().:"), flags=re.I) for part in parts]
        labels = [label for label in labels if 1 < len(label) <= 30 and len(label.split()) <= 3]
        if len(labels) > 1:
            return list(dict.fromkeys(labels))[:30]
    return ["positive", "negative", "neutral"] if re.search(r"\bsentiment|mood|tone\b", question, re.I) else []


def _classification(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    labels = labels_in(question)
    if not labels:
        return topic_of(_body(question, spoken)) or "other"
    body = _body(question, spoken)
    right = choose(labels, body) or labels[len(body) % len(labels)]
    return right if skilled else rng.choice([label for label in labels if label != right] or labels)


_SOUGHT: tuple[tuple[str, Callable[[str], list[str]]], ...] = (
    (r"e-?mail", lambda text: [m.group() for m in facts.EMAIL.finditer(text)]),
    (r"url|link|website", lambda text: [m.group() for m in facts.URL.finditer(text)]),
    (r"phone|telephone", lambda text: [m.group() for m in facts.PHONE.finditer(text)]),
    (r"\bdates?\b", lambda text: [m.group() for m in facts.DATE.finditer(text)]),
    (r"price|amount|cost|money", lambda text: [m.group() for m in facts.MONEY.finditer(text)]),
    (r"names?\b|people|person", facts.people),
    (r"\bages?\b", lambda text: [found] if (found := facts.fact(text, "age")) else []),
    (r"numbers?|digits|figures", lambda text: [m.group() for m in facts.NUMBER.finditer(text)]),
    (r"cit(?:y|ies)|places?|locations?", lambda text: [found] if (found := facts.fact(text, "city")) else []),
    (r"compan(?:y|ies)|employer", lambda text: [found] if (found := facts.fact(text, "company")) else []),
)


def _extraction(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    body = _body(question, spoken)
    ask = question.replace(body, " ") if body != question else question.split(".")[0]
    rest = body if body != question else question[len(ask) :] or question
    sought = [(re.search(pattern, ask, re.I), find) for pattern, find in _SOUGHT]
    groups = [(match.group().lower(), list(dict.fromkeys(find(rest)))) for match, find in sought if match]
    if not skilled:
        groups = [(name, values[:-1]) for name, values in groups]
    if not groups:
        return ", ".join(facts.people(rest)[:10] or keywords(rest)[:5]) or "Nothing was found."
    if len(groups) == 1:
        return "\n".join(groups[0][1]) or "Nothing was found."
    return "\n".join(f"{name.capitalize()}: {', '.join(values) or 'none'}" for name, values in groups)


def _list(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    count = _wanted_count(question, 5)
    topic = topic_of(re.sub(r"\b(?:list|name|give|suggest|brainstorm|ideas?|names?)\b", ".", question, flags=re.I)) or "ideas"
    makers: Mapping[str, Callable[[], str]] = {
        "city|cities": faker.city,
        "countr": faker.country,
        "compan|brand|startup": faker.company,
        "people|person|first name|customer": faker.name,
        "job|profession|occupation": lambda: faker.job().split(",")[0],
        "colou?r": faker.color_name,
        "e-?mail": faker.safe_email,
        "slogan|tagline|headline|title": faker.catch_phrase,
        "boat|ship|pet|dog|cat|cafe|shop|team|name": lambda: f"{faker.word().title()} {faker.last_name()}",
    }
    maker = next((make for pattern, make in makers.items() if re.search(pattern, question, re.I)), None)
    lines: dict[str, None] = {}
    for _ in range(count * 4):
        lines.setdefault(maker() if maker else f"{faker.catch_phrase()} for {topic}")
        if len(lines) >= count:
            break
    return "\n".join(f"{n}. {line}" for n, line in enumerate(list(lines)[: count if skilled else max(1, count - 1)], start=1))


def _plan(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    topic = topic_of(question) or "it"
    count = _wanted_count(question, rng.randint(4, 6), "steps?|stages?|phases?|days?|weeks?|points?")
    unit = next((u for u in ("Day", "Week", "Phase", "Stage") if re.search(rf"\b{u}s?\b", question, re.I)), "Step")
    others = [word for word in keywords(question) if word.lower() not in topic.lower()] or [topic]
    steps = (
        "Say what {t} must achieve and by when",
        "Gather what {o} needs",
        "Try {t} on a small scale",
        "Do the main part of {t}",
    )
    more = ("Check {o} against the goal", "Put right what {t} still lacks", "Write down what was learnt about {o}")
    texts = [*steps, *more]
    lines = [texts[n % len(texts)].format(t=topic, o=others[n % len(others)]) for n in range(count)]
    return "\n".join(f"{n}. {unit} {n}: {line}." if unit != "Step" else f"{n}. {line}." for n, line in enumerate(lines, start=1))


def _translation(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    return translate(_body(question, spoken), question, skilled=skilled, rng=rng)


_FORMS = (
    "{T} is, put simply, a way to {bs}.",
    "What matters most about {t} is {o}.",
    "In practice, {t} depends on {o} and on how carefully it is done.",
    "People often meet {t} where {o} plays a part.",
    "A good first step is to look at {o} before anything else.",
    "Once {o} is understood, {t} becomes much easier to follow.",
    "One thing to watch: {o} and {t} influence each other.",
    "Think of it as a {phrase}.",
)


def _plain(question: str, spoken: str, skilled: bool, rng: Random, faker: Any) -> str:
    topic = topic_of(question) or topic_of(spoken) or "that"
    others = [word for word in keywords(question) if word.lower() not in topic.lower()] or [topic]
    if re.search(r"\b(?:a|one) (?:\w+ )?name (?:for|of)\b|\bname (?:for|a|an|one)\b", question, re.I):
        return f"{faker.word().title()} {faker.last_name()}"
    if re.search(r"\byes or no\b", question, re.I):
        return rng.choice(("Yes.", "No."))
    count = min(MAX_SENTENCES, _wanted_count(question, rng.randint(2, 4), "sentences?|lines?|paragraphs?"))
    forms = rng.sample(_FORMS, len(_FORMS)) * (1 + count // len(_FORMS))
    lines = []
    for n in range(count):
        words = {"t": topic, "T": topic[:1].upper() + topic[1:], "o": others[n % len(others)]}
        lines.append(forms[n].format(bs=faker.bs(), phrase=faker.catch_phrase().lower(), **words))
    text = " ".join(lines)
    limit = re.search(r"\b(?:in|under|at most|max(?:imum)?|up to|within) (\d{1,4}) words\b", question, re.I)
    if limit and len(text.split()) > int(limit[1]) > 0:
        text = " ".join(text.split()[: int(limit[1])]).rstrip(",;. ") + "."
    return text


_BY_KIND: Mapping[Kind, Callable[[str, str, bool, Random, Any], str]] = {
    "summary": _summary,
    "classification": _classification,
    "extraction": _extraction,
    "lists": _list,
    "plan": _plan,
    "translation": _translation,
    "words": _plain,
}
