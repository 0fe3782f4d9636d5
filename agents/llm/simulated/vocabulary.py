"""Words and numbers by which the pretender knows what a field or a text is about. Tables only, used by its sibling modules."""

from __future__ import annotations

from collections.abc import Mapping


def word_set(text: str) -> frozenset[str]:
    """The words of a text that is easier to read than a list."""
    return frozenset(text.split())


BIRTH = word_set("birth dob birthday birthdate born")
FUTURE = word_set("next due expiry expires expiration expected planned scheduled deadline restock eta")
LATER = word_set("""
    end ended ends updated modified last closed finished completed delivered to until checkout arrival resolved shipped
    """)
BAD_NEWS = word_set("deleted error failed blocked banned suspended expired fraud spam broken cancelled missing late")
NEVER_NEGATIVE = word_set("""
    age price cost fee quantity qty count stock amount size weight height width length depth salary income year rating
    distance duration population msrp rooms guests seats discount percent percentage nights
    """)
PLACEHOLDERS = frozenset({"string", "todo", "tbd", "n/a", "xxx", "lorem ipsum", "placeholder", "unknown", "foo", "changeme", "?"})
LONG = word_set("""
    description summary text comment body content bio about notes note reason message feedback review details
    detail explanation rationale abstract overview answer instructions
    """)
DATED = word_set("""
    date at on time timestamp created updated modified birthday dob deadline expiry expires since until begin
    start end login restock
    """)

NUMBERS: Mapping[str, tuple[float, float]] = {
    "age": (19, 74),
    "year": (1990, 2025),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minute": (0, 59),
    "price": (4, 480),
    "msrp": (6, 600),
    "cost": (3, 400),
    "amount": (5, 900),
    "total": (10, 2400),
    "subtotal": (10, 2000),
    "tax": (1, 90),
    "fee": (1, 40),
    "balance": (50, 9000),
    "income": (28_000, 140_000),
    "salary": (30_000, 150_000),
    "revenue": (20_000, 900_000),
    "budget": (1000, 90_000),
    "quantity": (1, 60),
    "qty": (1, 60),
    "stock": (0, 400),
    "count": (1, 80),
    "discount": (0, 35),
    "percent": (0, 100),
    "percentage": (0, 100),
    "rate": (0, 20),
    "rating": (1, 5),
    "stars": (1, 5),
    "score": (40, 100),
    "confidence": (0.5, 1),
    "probability": (0, 1),
    "latitude": (-60, 65),
    "lat": (-60, 65),
    "longitude": (-170, 170),
    "lon": (-170, 170),
    "lng": (-170, 170),
    "weight": (0.2, 60),
    "height": (5, 200),
    "width": (5, 200),
    "length": (5, 200),
    "depth": (2, 120),
    "temperature": (-5, 34),
    "humidity": (20, 95),
    "speed": (3, 130),
    "distance": (1, 800),
    "duration": (1, 240),
    "port": (1024, 49151),
    "id": (1000, 99_999),
    "number": (1, 9999),
    "index": (0, 50),
    "rank": (1, 50),
    "rooms": (1, 6),
    "floor": (0, 12),
    "zip": (10_000, 99_999),
    "population": (800, 2_000_000),
}
KINDS: Mapping[str, str] = {
    **dict.fromkeys(
        word_set("""
    product item article goods sku catalog catalogue merchandise listing
    """),
        "product",
    ),
    **dict.fromkeys(
        word_set("""
    company vendor supplier employer organization organisation business firm manufacturer brand
    """),
        "company",
    ),
    **dict.fromkeys(
        word_set("""
    city place location venue station destination town
    """),
        "place",
    ),
    **dict.fromkeys(
        word_set("""
    event course project book movie song recipe plan task category dataset feature service team warehouse
    department
    """),
        "thing",
    ),
    **dict.fromkeys(
        word_set("""
    user person customer employee patient student author contact member client people profile account owner guest
    driver
    """),
        "person",
    ),
}

STOP = word_set("""
    a about all also an and any are as at be been but by can could describe did do does each every explain few five for four
    from get give had has have how i if in into is it its just let list make many may me might more most much must my name
    need no not of on one or our own per please say seven should show six so some such suggest tell ten than that the their
    them then there these they this those three to two under until up us use very want was we were what when where which who
    why will with would write yes you your between sentence sentences because using whether here being only
    word words paragraph paragraphs
    """)
GOOD_WORDS = word_set("""
    good great excellent love loved loves amazing wonderful happy best perfect fantastic pleased delighted recommend helpful
    fast friendly enjoyed nice awesome satisfied thanks superb flawless impressed like reliable
    """)
BAD_WORDS = word_set("""
    bad terrible awful hate hated worst poor broken slow disappointed disappointing rude useless late refund unhappy angry
    horrible defective failed never problem wrong annoying damaged dirty expensive waste crashed crashes
    """)
URGENT_WORDS = word_set(
    "urgent urgently immediately asap critical outage down emergency now blocked fatal production severe breach"
)
CALM_WORDS = word_set("whenever someday minor cosmetic typo eventually nice-to-have question wondering later sometime suggestion")
NUMBER_WORDS: Mapping[str, int] = {
    word: n
    for n, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), start=1
    )
} | {"dozen": 12, "twenty": 20, "couple": 2}
