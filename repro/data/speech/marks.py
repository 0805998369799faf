"""Marks of transcripts: noise, silence and speech that was not transcribed, in the conventions of Kaldi's recipes.

Marks are ``<noise> [noise] {noise} ++noise++ %noise !noise (noise) (( ))``. ``[laughter-yes]`` is the word yes.
"""

import re

from repro.data.speech.characters import has

UNTRANSCRIBED = "speech that the transcript lacks or is unsure of"
UNKNOWN_MARK = "a mark of unknown meaning in the transcript"

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

MARK = re.compile(
    r"(?<!\()\(\(.*?\)\)|\([^()]*\)|<[^<>]*>|(?<!\[)\[+[^\[\]]*\]+|\{[^{}]*\}|\+\+\w+\+\+|(?<!\S)[%!][^\W\d_][\w-]*"
)
NAME = re.compile(r"[^\W\d_]+")
LAUGHED_WORD = re.compile(r"\[(?:laughter|laughing)-(.+)\]")


def without_marks(text: str) -> tuple[str, dict[str, str]]:
    """Return a folded transcript without its marks, and the first mark of each kind.

    Tokens such as ``%x`` and text in single round brackets stay if their meaning is unknown.
    """
    marks: dict[str, str] = {}

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

    return MARK.sub(dropped, text), marks


def _kind(mark: str) -> str | None:
    """Return the kind of a mark; None if its meaning is unknown."""
    names = NAME.findall(mark.replace("_", " ").replace("no speech", "nospeech").replace("no-speech", "nospeech"))
    if names == ["s"] and mark[0] == "<":  # <s> and </s>, the ends of a sentence
        return "silence"
    if not names:
        return None if has(mark, "digit") else UNTRANSCRIBED
    if not MARK_WORDS.issuperset(names):
        return None
    kind = next(kind for kind, decisive in NAMES.items() if not decisive.isdisjoint(names))
    return None if kind == "modifier" else kind
