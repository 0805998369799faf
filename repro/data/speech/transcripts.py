"""Words of transcripts as people write them: punctuation, abbreviations, marks of noise, symbols and digits.

``normalize`` returns the words in lower case, or the reason that a transcript cannot be used: its sound must follow
from the text, so a text that may be read in many ways cannot. ``known`` is the words of the dictionary.

- Characters: compatibility forms are resolved (NFKC, but not of symbols and numbers) and invisible ones removed. Any
  white space separates words, and so do punctuation, ellipses and dashes.
- The dictionary's entry for a token as written is used first: ``o'clock``, ``'em``, ``twenty-one``, ``at&t``.
- Dots: a final dot is dropped (``mr.`` is mr) unless the dictionary has only the entry with it (``prof.``); inside an
  utterance ``ABBREVIATIONS`` keep theirs. Letters with dots are the dictionary's entry with dots (``u.s.``), else, if
  longer than three, its entry without dots (``n.a.t.o.``), else the letters: ``i.t.`` is "i t", not "it". Another dot
  inside a word is dropped if the dictionary has the rest (``ph.d`` is phd), and otherwise is a symbol (``x.com``).
- Hyphens and underscores: a word that the dictionary lacks is split if it has all the parts. ``th-`` and ``b-but`` are
  words broken off.
- Quotes around words are dropped; a letter with an apostrophe (``d'``) is an elision and stays as it is.
- Marks are ``<noise> [noise] {noise} ++noise++ %noise !noise (noise) (( ))``. Noise and silence are dropped, and their
  kind is returned; speech that was not transcribed, and marks of unknown meaning, are reasons. Other text in round
  brackets is speech. ``[laughter-yes]`` is the word yes.
- Digits are a reason, and so are symbols in a token that the dictionary lacks as a whole: ``&``, ``%``, ``/``.
"""

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

DIGITS = "digits in the transcript, which may be read in many ways"
SYMBOLS = "symbols in the transcript, which may be read in many ways"
UNTRANSCRIBED = "speech that the transcript lacks or is unsure of"
UNKNOWN_MARK = "a mark of unknown meaning in the transcript"
BROKEN_OFF = "a word broken off in the transcript"

# Abbreviations that are read otherwise than the entry without the dot. At an utterance's end the dot ends a sentence.
ABBREVIATIONS = {"al.", "co.", "conn.", "inc.", "jan.", "mass.", "messrs.", "vs."}
UNTRANSCRIBED_WORDS = {"xxx", "yyy", "www"}  # of CHAT (MacWhinney 2000)

# Words in marks, by kind. The first kind of which a mark has a word decides; modifiers decide nothing.
MARKS = {
    UNTRANSCRIBED: "unk oov unknown unintelligible inaudible indistinct incomprehensible unclear garbled mumble "
    "mumbles mumbling gibberish speech talk talking voice voices crosstalk overlap overlapping conversation foreign "
    "skip bleep redacted censored xxx",
    "laughter": "laugh laughs laughter laughing chuckle chuckles chuckling giggle giggles giggling",
    "breath": "breath breaths breathe breathes breathing inhale inhales exhale exhales sigh sighs gasp gasps cough "
    "coughs coughing sneeze sneezes sneezing sniff sniffs yawn yawns smack smacks lipsmack swallow clears clearing",
    "hesitation": "hesitation hes uh um ah er erm eh huh mm hm hmm filler filled",
    "punctuation": "comma period questionmark exclamationpoint",
    "silence": "sil silence pause pauses eps nospeech",
    "noise": "noise noises nsn spn nv noisy music static click clicks clicking beep beeps beeping slam slams ring "
    "rings ringing applause clap claps clapping rustle rustling creak creaking squeak squeaking bang bangs thump "
    "knock knocks knocking tap tapping dtmf int sta typing bark barks barking aside",
    "modifier": "background spoken vocalized vocal speaker human loud soft short long door phone telephone microphone "
    "mic chair paper keyboard channel line mouth lip tongue throat dog cross language b e v of the",
}
NAMES = {kind: set(names.split()) for kind, names in MARKS.items()}
MARK_WORDS = set().union(*NAMES.values())

MARK = re.compile(r"\(\(.*?\)\)|\([^()]*\)|<[^<>]*>|\[+[^\[\]]*\]+|\{[^{}]*\}|\+\+\w+\+\+|(?<!\S)[%!][^\W\d_][\w-]*")
NAME = re.compile(r"[^\W\d_]+")
LAUGHED_WORD = re.compile(r"\[(?:laughter|laughing)-(.+)\]")
BRACKET_IN_WORD = re.compile(r"\w\(+\w|\w\)+\w")
SEPARATORS = re.compile(r"\.{2,}|-{2,}|'{2,}")
DOTTED = re.compile(r"[^\W\d_](?:\.[^\W\d_])+\.?")
ELISION = re.compile(r"[^\W\d_ai]'|'[^\W\d_ai]")

SIGNS = str.maketrans({**dict.fromkeys("’‘‛ʼ´`′", "'"), "‐": "-"})
JOINERS = set("'.-_")
SPOKEN = set("&%#*/@\\§¶†‡‰‱ªº")  # beside all that Unicode calls symbols
BRACKETS = set("[]{}<>")  # those that are no mark


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
    marks: dict[str, str] = {}  # the first mark of each kind

    def dropped(match: re.Match[str]) -> str:
        mark = match[0]
        if (laughed := LAUGHED_WORD.fullmatch(mark)) and not MARK_WORDS.issuperset(NAME.findall(laughed[1])):
            marks.setdefault("laughter", mark)
            return f" {laughed[1]} "
        kind = _kind(mark)
        if not kind and (mark[0] in "%!" or (mark[0] == "(" and mark[:2] != "((")):
            return mark
        marks.setdefault(kind or (UNTRANSCRIBED if mark[0] == "(" else UNKNOWN_MARK), mark)
        return " "

    text = MARK.sub(dropped, " ".join(fold(text).split()))
    for reason in (UNTRANSCRIBED, UNKNOWN_MARK):
        if reason in marks:
            return Transcript(reason=reason, token=marks[reason])
    for token in text.split():
        if any(_class(character) == "digit" for character in token):
            return Transcript(reason=DIGITS, token=token)
        if BRACKET_IN_WORD.search(token):
            return Transcript(reason=SYMBOLS, token=token)
    tokens = _tokens(SEPARATORS.sub(" ", text))
    words: tuple[str, ...] = ()
    for number, token in enumerate(tokens):
        read = _read(token, known, last=number == len(tokens) - 1)
        if isinstance(read, str):
            return Transcript(reason=read, token=token)
        words += read
    return Transcript(words, tuple(marks))


def is_word(entry: str) -> bool:
    """Return whether an entry of a lexicon, folded, is a word of its own: no mark, no punctuation, without digits."""
    return normalize(entry, {entry}).words == (entry,)


def fold(text: str) -> str:
    """Return a text in lower case, without invisible characters, and with one form of apostrophe and hyphen."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_plain, text)))
    return unicodedata.normalize("NFC", text.casefold()).translate(SIGNS)


@cache
def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # zero-width characters, soft hyphens, directions
        return ""
    return character if category[0] in "SN" or character in SPOKEN else unicodedata.normalize("NFKC", character)


@cache
def _class(character: str) -> str:
    category = unicodedata.category(character)[0]
    if character in JOINERS or (category in "LM" and character not in SPOKEN):
        return "letter"
    if category == "N":
        return "digit"
    return "separator" if character.isspace() or (category == "P" and character not in SPOKEN | BRACKETS) else "symbol"


def _kind(mark: str) -> str | None:
    """Return the kind of a mark; None if its meaning is unknown."""
    names = NAME.findall(mark.replace("_", " ").replace("no speech", "nospeech").replace("no-speech", "nospeech"))
    if names == ["s"] and mark[0] == "<":  # <s> and </s>, the ends of a sentence
        return "silence"
    if not names:
        return None if any(_class(character) == "digit" for character in mark) else UNTRANSCRIBED
    if not MARK_WORDS.issuperset(names):
        return None
    kind = next(kind for kind, decisive in NAMES.items() if not decisive.isdisjoint(names))
    return None if kind == "modifier" else kind


def _tokens(text: str) -> list[str]:
    """Return what may be words: tokens with a symbol as a whole, others split at punctuation."""
    tokens = []
    for token in text.split():
        if any(_class(character) == "symbol" for character in token):
            separators = "".join({c for c in token if _class(c) == "separator"})
            tokens.append(token.strip(separators) if separators else token)
        else:
            tokens += "".join(" " if _class(c) == "separator" else c for c in token).split()
    return [token for token in tokens if any(c.isalpha() or _class(c) == "symbol" for c in token)]


def _read(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    """Return the words of a token, or the reason that it cannot be read."""
    if all(_class(character) == "letter" for character in token):
        return _word(token, known, last)
    for entry in (token, token.strip("'"), token.strip("'.")):
        if entry in known and BRACKETS.isdisjoint(entry):
            return (entry,)
    return SYMBOLS


def _word(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    if token == "'n'":  # rock 'n' roll
        token = "'n"
    if len(token) > 2 and token[0] == token[-1] and token[0] in "'-":
        token = token[1:-1]
    while True:
        if DOTTED.fullmatch(token):
            return _dotted(token, known)
        rest = token[:-1]
        if token.endswith(".") and "." not in rest and rest in known and (last or token not in ABBREVIATIONS):
            return (rest,)
        if token in known or ELISION.fullmatch(token):
            return (token,)
        if token.endswith("-"):
            return BROKEN_OFF
        if token[-1] in JOINERS:
            token = rest
        elif token[0] in JOINERS:
            token = token[1:]
        else:
            break
    if "-" in token or "_" in token:
        return _compound(token, known, last)
    if "." in token:
        return (joined,) if (joined := token.replace(".", "")) in known else SYMBOLS
    return UNTRANSCRIBED if token in UNTRANSCRIBED_WORDS else (token,)


def _dotted(token: str, known: Container[str]) -> tuple[str, ...] | str:
    letters = token.replace(".", "")
    for entry in (token.rstrip(".") + ".", token, *([letters] if len(letters) > 3 else [])):
        if entry in known:
            return (entry,)
    return tuple(letters) if all(letter in known for letter in letters) else SYMBOLS


def _compound(token: str, known: Container[str], last: bool) -> tuple[str, ...] | str:
    parts = [part for part in re.split(r"[-_]", token) if any(c.isalpha() for c in part)]
    if any(first != second and second.startswith(first) for first, second in pairwise(parts)):
        return BROKEN_OFF
    words: tuple[str, ...] = ()
    for number, part in enumerate(parts):
        read = _word(part, known, last and number == len(parts) - 1)
        if isinstance(read, str):
            return read
        words += read
    return words if all(word in known for word in words) else (token,)
