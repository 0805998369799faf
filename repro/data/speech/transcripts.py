"""Words of transcripts as people write them: punctuation, abbreviations, marks of noise, symbols and digits.

``normalize`` returns the words in lower case, or the reason that a transcript cannot be used: its sound must follow
from the text, so a text that may be read in many ways cannot. ``known`` is the words of the dictionary.

- White space, punctuation, ellipses and dashes separate words; ``characters`` has the classes of characters.
- The dictionary's entry for a token as written is used first: ``o'clock``, ``'em``, ``twenty-one``, ``at&t``.
- Clitics written apart (``it 's``, ``do n't``, ``it ' s``, ``it''s``) are joined to the word before if the dictionary
  has the whole, and otherwise are symbols.
- A final dot is dropped (``mr.`` is mr) unless the dictionary has only the entry with it (``prof.``). ``ABBREVIATIONS``
  inside an utterance, and ``NEVER_LAST`` anywhere, are the entry with the dot, else a reason.
- Letters with dots are the dictionary's entry with dots (``u.s.``), else the letters: ``i.t.`` is "i t", not "it". More
  than three whose entry without dots is known are a reason (``n.a.t.o.``). Another dot inside a word is a symbol.
- Hyphens and underscores: a word that the dictionary lacks is split if it has all the parts.
- Words broken off: ``th-``, ``-cause``, ``b-but``, and the same with dashes and dots (``BROKEN``). Blanks (``____``)
  are symbols.
- Quotes around words are dropped; a letter with an apostrophe (``d'``) is an elision and stays as it is.
- ``marks``: noise and silence are dropped, and their kind is returned; speech that was not transcribed, marks of
  unknown meaning, other text in round brackets, and a speaker's name in capitals (``JOHN: yes``) are reasons.
- Digits are a reason, and so are symbols in a token that the dictionary lacks as a whole: ``&``, ``%``, ``/``.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

from repro.data.speech.characters import BRACKETS, JOINERS, class_of, fold, has
from repro.data.speech.marks import MARK, UNKNOWN_MARK, UNTRANSCRIBED, without_marks

DIGITS = "digits in the transcript, which may be read in many ways"
SYMBOLS = "symbols in the transcript, which may be read in many ways"
ABBREVIATION = "an abbreviation in the transcript, which may be read in many ways"
BROKEN_OFF = "a word broken off in the transcript"

# Abbreviations whose entry without the dot is read otherwise, by whether a sentence may end in that word.
ABBREVIATIONS, NEVER_LAST = (
    set(words.split())
    for words in (
        "al apt arc ark art cal cap chap co com con conn cor del ed ex fed fig figs gal ill inc jan la lib lit mar "
        "mass med messrs mil miss mo op ore oz pa par penn pol sat sec sect sens sol sun temp trans vs wash",
        "alt av ave calif cert cit colo comm cong dak dec dep dia eng est gaz gen gens geo gov hon hr ia jas jos jour "
        "jun kan lang lat maj mech mex mi mich min mme mon mont mos mun nat neg nov oct opp org para pers poss pres "
        "prim reg res ret rev revs rom sci sen sep sept sta syn tel tenn ter tex thur tue wed wis",
    )
)
UNTRANSCRIBED_WORDS = {"xxx", "yyy", "www"}  # of CHAT (MacWhinney 2000)

CLITICS = {"'s", "'m", "'ve", "'re", "'ll", "'d", "'t", "n't"}
SPLIT_WORDS = {"gon na", "wan na", "got ta", "gim me", "lem me"}  # of the Penn Treebank

PLAIN = re.compile(r"[a-z]+(?:['-][a-z]+)*")
SPEAKER = re.compile(r"\s*([^:]*):")
BRACKET_IN_WORD = re.compile(r"\w\(+\w|\w\)+\w")
ROUND_BRACKETS = re.compile(r"\([^()]*\)")
DOUBLE_APOSTROPHE = re.compile(r"(?<=[^\W\d_])'{2,}(?=[^\W\d_])")  # it''s
SEPARATORS = re.compile(r"\.{2,}|-{2,}|'{2,}")
DOTTED = re.compile(r"[^\W\d_](?:\.[^\W\d_])+\.?")
ELISION = re.compile(r"[^\W\d_ai]'|'[^\W\d_ai]")

BLANK = re.compile(r"_{2,}|-{3,}|[‒–—―]{2,}|[⸺⸻]")
DASH = r"(?:--|[‒–—―])"
FIRST = r"(?<!\w)(?<!\w['.-])"  # at the beginning of a word
BROKEN = re.compile(
    "|".join([
        rf"\w{DASH}[^\w\s]*(?!\S)|(?<!\S)[^\w\s]*{DASH}\w",  # a dash that touches a word on one side only
        rf"{FIRST}[^\W\d_i](?:{DASH}|\.\.)",  # a single letter before dots or a dash
        rf"\w(?:{DASH}|\.\.+)[^\W\d_ai](?!['.-]?\w)",  # a single letter after them
        # The beginning of the next word before them.
        rf"{FIRST}([^\W\d_]+)\s*(?:{DASH}|\.(?: ?\.)+|(?<=\s)-(?=\s))\s*\1[^\W\d_]",
    ])
)  # fmt: skip


@dataclass(frozen=True)
class Transcript:
    """The words of a transcript and the kinds of the marks dropped from it.

    Attributes:
        reason: why the transcript cannot be used; then it has no words.
        token: the text that is the reason.
    """

    words: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    reason: str = ""
    token: str = ""


def normalize(text: str, known: Container[str]) -> Transcript:
    """Return the words of a transcript; its output as text has the same words again.

    Args:
        text: a transcript without the utterance's id.
        known: the words of the dictionary, in lower case.
    """
    if text.isascii() and (plain := _plain_words(text, known)) is not None:
        return Transcript(plain)
    bare = MARK.sub(" ", text)
    speaker = SPEAKER.match(bare)
    if speaker and speaker[1].isupper() and any(map(str.islower, bare)):
        return Transcript(reason=UNKNOWN_MARK, token=fold(speaker[0]).strip())
    text, marks = without_marks(" ".join(fold(text).split()))
    if unreadable := _unreadable(text, marks):
        return unreadable
    tokens = _joined(_tokens(SEPARATORS.sub(" ", DOUBLE_APOSTROPHE.sub(" ' ", text))), known)
    words: list[str] = []
    for number, token in enumerate(tokens):
        read = _read(token, known, last=number == len(tokens) - 1)
        if isinstance(read, str):
            return Transcript(reason=read, token=token.strip())
        words += read
    if _joined(words, known) != words:  # such as "d'. or": "d'or" or two words
        return Transcript(reason=SYMBOLS, token=" ".join(words))
    return Transcript(tuple(words), tuple(marks))


def is_word(entry: str) -> bool:
    """Return whether an entry of a lexicon, folded, is a word of its own: no mark, no punctuation, without digits."""
    return normalize(entry, {entry}).words == (entry,)


def _plain_words(text: str, known: Container[str]) -> tuple[str, ...] | None:
    """Return the words of a text of nothing but known words, which most are, in less time; None for other texts."""
    words = text.lower().split()
    if not all(word in known and PLAIN.fullmatch(word) for word in words):
        return None
    return tuple(words) if SPLIT_WORDS.isdisjoint(map(" ".join, pairwise(words))) else None


def _unreadable(text: str, marks: dict[str, str]) -> Transcript | None:
    """Return the reason that a text, whose marks were dropped, has no words whatever the dictionary."""
    for reason in (UNTRANSCRIBED, UNKNOWN_MARK):
        if reason in marks:
            return Transcript(reason=reason, token=marks[reason])
    for token in text.split():
        if has(token, "digit"):
            return Transcript(reason=DIGITS, token=token)
        if BRACKET_IN_WORD.search(token):
            return Transcript(reason=SYMBOLS, token=token)
    for reason, pattern in ((UNKNOWN_MARK, ROUND_BRACKETS), (SYMBOLS, BLANK), (BROKEN_OFF, BROKEN)):
        if match := pattern.search(text):
            before, after = text[: match.start()].split(" ")[-1], text[match.end() :].split(" ")[0]
            return Transcript(reason=reason, token=f"{before}{match[0]}{after}".strip())
    return None


def _tokens(text: str) -> list[str]:
    """Return what may be words, and apostrophes that stand alone: tokens with a symbol as a whole, others split."""
    tokens = []
    for token in text.split():
        if token == "'":
            tokens.append(token)
        elif has(token, "symbol"):
            separators = "".join({c for c in token if class_of(c) == "separator"})
            tokens.append(token.strip(separators) if separators else token)
        else:
            parts = "".join(" " if class_of(c) == "separator" else c for c in token).split()
            tokens += [part for part in parts if any(map(str.isalpha, part))]
    return tokens


def _joined(tokens: Sequence[str], known: Container[str]) -> list[str]:
    """Return the tokens with clitics joined to the word before; those that cannot be have a blank before them."""
    joined: list[str] = []
    apostrophe = ""  # one that stands alone
    for token in tokens:
        if token == "'":
            apostrophe = token
            continue
        before, part = joined[-1] if joined else "", apostrophe + token
        stem = part.rstrip(".")
        apart = part[0] == "'" or before.endswith("'") or stem == "n't" or f"{before} {stem}" in SPLIT_WORDS
        if before and apart and before + stem in known:
            joined[-1] += part
        elif stem in CLITICS or (apostrophe and stem in known) or (before.endswith("'") and f"'{stem}" in CLITICS):
            joined.append(f"{before} {part}")
        else:
            joined.append(token)
        apostrophe = ""
    return joined


def _read(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    """Return the words of a token, or the reason that it cannot be read."""
    if all(class_of(character) == "letter" for character in token):
        return _word(token, known, last)
    for entry in (token, token.strip("'"), token.strip("'.")):
        if entry in known and BRACKETS.isdisjoint(entry):
            return (entry,)
    return SYMBOLS


def _word(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    if token == "'n'":  # rock 'n' roll
        token = "'n"
    if len(token) > 2 and token[0] == token[-1] == "'":
        token = token[1:-1]
    while True:
        if DOTTED.fullmatch(token):
            return _dotted(token, known)
        if token in CLITICS:
            return SYMBOLS
        rest = token[:-1]
        if token.endswith(".") and "." not in rest and rest in known:
            if rest in NEVER_LAST or (rest in ABBREVIATIONS and not last):
                return (token,) if token in known else ABBREVIATION
            return (rest,)
        if token in known or ELISION.fullmatch(token):
            return (token,)
        if token[0] == "-" or token[-1] == "-":
            return BROKEN_OFF
        if token[0] == ".":  # .com
            return SYMBOLS
        if token[-1] in JOINERS:
            token = rest
        elif token[0] in JOINERS:
            token = token[1:]
        else:
            break
    if "-" in token or "_" in token:
        return _compound(token, known, last)
    if "." in token:
        return (f"{token}.",) if f"{token}." in known else SYMBOLS
    return UNTRANSCRIBED if token in UNTRANSCRIBED_WORDS else (token,)


def _dotted(token: str, known: Container[str]) -> tuple[str, ...] | str:
    letters = token.replace(".", "")
    for entry in (token.rstrip(".") + ".", token):
        if entry in known:
            return (entry,)
    if len(letters) > 3 and letters in known:
        return ABBREVIATION
    return tuple(letters) if all(letter in known for letter in letters) else SYMBOLS


def _compound(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    parts = [part for part in re.split(r"[-_]", token) if any(c.isalpha() for c in part)]
    for first, second in pairwise(parts):
        if second.startswith(first) and second[len(first) :][:1] not in ("", "'"):
            return BROKEN_OFF
    words: tuple[str, ...] = ()
    for number, part in enumerate(parts):
        read = _word(part, known, last and number == len(parts) - 1)
        if isinstance(read, str):
            return read
        words += read
    if not all(word in known for word in words):
        return (token,)
    single_letter_last = len(parts[-1]) == 1 and parts[-1] not in "ai" and max(map(len, parts)) > 1
    return SYMBOLS if single_letter_last else words  # sh-t
