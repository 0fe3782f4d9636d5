"""Are two requests the same words, only written otherwise? «What's an LLM?» and «what is LLM», but not «C++» and «C#».

Called by the library and the bench for trust.py's evidence. Pure: texts in, a tuple of words out; imports nothing of the project.

Two texts say the same words when nothing is left between them but what English spelling and grammar leave to taste: capitals,
punctuation, contractions, and articles. Everything else has to be there on both sides, in the same order: every noun, verb,
preposition and pronoun with its endings, every number, negation and symbol. So no list of meanings is needed, and nothing in here
was chosen by what it does on recorded requests.

Where one of these carries meaning after all it is kept: an article before «few», «little» and «bit» («a few» are some, «few» are
hardly any); a letter «A» that is a name («vitamin A»); capitals that tell an abbreviation from a small word («US» and «us»); a
sign («C++», «-5», «5 %», «$»); what stands inside of numbers («1.5», «1,500»).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

MAX_CHARS: Final = 4000
"""Of longer texts nothing is said: they are never the same words."""

_TOKEN: Final = re.compile(
    r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,:]\d+)*|(?<!\w)[-−](?=\s*\d)|[^\s.,;:!?\"'«»“”„‘’`´()\[\]…–—·•-]"
)
_ARTICLES: Final = frozenset({"a", "an", "the"})
_COUNTED: Final = frozenset({"few", "little", "bit"})
_SMALL_WORDS: Final = frozenset({"us", "it", "who", "am", "is", "in", "or", "and", "may", "will", "can", "as", "at", "no", "so"})
_STARTS: Final = frozenset({"what", "who", "where", "when", "how", "why", "it", "that", "there", "here", "he", "she", "let"})
_PRONOUNS: Final = frozenset({"i", "you", "we", "they", "it", "he", "she", "who", "that", "there", "what"})
_VERBS: Final = frozenset(
    {"is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "could", "would", "should", "must", "need", "might"}
)
_WHOLE: Final = {"can't": "can not", "won't": "will not", "shan't": "shall not", "cannot": "can not", "let's": "let us"}
_WITHOUT_APOSTROPHE: Final = {
    **{f"{verb}nt": f"{verb} not" for verb in _VERBS},
    **{f"{word}s": f"{word} is" for word in ("what", "where", "how", "that", "there")},
    "cant": "can not",
    "im": "i am",
    "ive": "i have",
    "youre": "you are",
    "youve": "you have",
    "theyre": "they are",
}


@lru_cache(maxsize=2048)
def said(text: str) -> tuple[str, ...]:
    """The words of ``text`` without what is a matter of taste; () where there are none, or too many to be compared."""
    if len(text) > MAX_CHARS:
        return ()
    return tuple(_said(unicodedata.normalize("NFC", text)))


def same_words(a: str, b: str) -> bool:
    """Whether both say the same words. Reflexive for what has words, symmetric and transitive."""
    words = said(a)
    return bool(words) and words == said(b)


def _said(text: str) -> Iterator[str]:
    loud = text.upper() == text  # all in capitals: they tell nothing apart
    found = _TOKEN.findall(text)
    for at, written in enumerate(found):
        word = written.lower().replace("’", "'")
        if word in _ARTICLES:
            is_name = written == "A" and at > 0 and not loud
            if not is_name and (at + 1 == len(found) or found[at + 1].lower() not in _COUNTED):
                continue
        if word in _SMALL_WORDS and written.isupper() and not loud:
            yield written
        else:
            yield from _written_out(word).split()


def _written_out(word: str) -> str:
    """Contractions in full. «'d» stays as it is: it is «had» or «would»."""
    if (known := _WHOLE.get(word) or _WITHOUT_APOSTROPHE.get(word)) is not None:
        return known
    stem, apostrophe, ending = word.rpartition("'")
    if not apostrophe:
        return word
    if ending == "t" and stem.endswith("n") and stem[:-1] in _VERBS:
        return f"{stem[:-1]} not"
    if stem in _STARTS and ending == "s":
        return f"{stem} is"
    full = {"re": "are", "ve": "have", "ll": "will", "m": "am"}.get(ending)
    return f"{stem} {full}" if full is not None and stem in _PRONOUNS else word
