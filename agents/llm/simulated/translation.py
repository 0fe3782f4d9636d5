"""A very small dictionary for translation questions: known words are translated, names and unknown words stay. Pure."""

from __future__ import annotations

import re
from random import Random

_LANGUAGES = ("french", "spanish", "german", "italian")
_TABLE = """
the le el der il
a un un ein un
and et y und e
is est es ist è
are sont son sind sono
not pas no nicht non
I je yo ich io
you vous usted Sie voi
we nous nosotros wir noi
my mon mi mein mio
your votre su Ihr vostro
good bon buen guter buon
morning matin mañana Morgen mattino
day jour día Tag giorno
night nuit noche Nacht notte
water eau agua Wasser acqua
bread pain pan Brot pane
house maison casa Haus casa
book livre libro Buch libro
friend ami amigo Freund amico
with avec con mit con
in dans en in in
of de de von di
to à a zu a
for pour para für per
today aujourd'hui hoy heute oggi
tomorrow demain mañana morgen domani
please s'il_vous_plaît por_favor bitte per_favore
thank merci gracias danke grazie
hello bonjour hola hallo ciao
where où dónde wo dove
how comment cómo wie come
much beaucoup mucho viel molto
big grand grande groß grande
small petit pequeño klein piccolo
new nouveau nuevo neu nuovo
old vieux viejo alt vecchio
red rouge rojo rot rosso
green vert verde grün verde
blue bleu azul blau blu
train train tren Zug treno
station gare estación Bahnhof stazione
coffee café café Kaffee caffè
open ouvert abierto offen aperto
closed fermé cerrado geschlossen chiuso
love amour amor Liebe amore
cat chat gato Katze gatto
dog chien perro Hund cane
"""
_WORDS = {row.split()[0].lower(): row.split()[1:] for row in _TABLE.strip().splitlines()}


def translate(text: str, question: str, *, skilled: bool, rng: Random) -> str:
    """``text`` with every known word in the language that ``question`` names (French where it names none)."""
    language = next((name for name in _LANGUAGES if name in question.lower()), "french")
    column = _LANGUAGES.index(language)
    lead = rf"^\W*(?:(?:please|translate|to|into|in|the following|this|sentence|text|{language})\b|[:\s])+"
    source = re.sub(lead, "", text, flags=re.I) or text

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        row = _WORDS.get(word.lower())
        if row is None or (not skilled and rng.random() < 0.3):
            return word
        found = row[column].replace("_", " ")
        return found[:1].upper() + found[1:] if word[:1].isupper() and word != "I" else found

    return re.sub(r"[A-Za-z']+", swap, source[:20_000]).strip(" \"'")
