"""Words of transcripts: punctuation, abbreviations, marks, symbols and digits, each with its outcome."""

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repro.data.speech.characters import IGNORABLE, fold
from repro.data.speech.lexicon import cmudict
from repro.data.speech.marks import MARKS, UNKNOWN_MARK, UNTRANSCRIBED
from repro.data.speech.transcripts import (
    ABBREVIATION,
    ABBREVIATIONS,
    BROKEN_OFF,
    DIGITS,
    NEVER_LAST,
    SYMBOLS,
    is_word,
    normalize,
)

WORDS = {
    # Capitals, punctuation and white space.
    "What does it mean to repent.": "what does it mean to repent",
    "WE CALL IT BEAR": "we call it bear",
    "“Hello,” she said… ‘no’ — yes; [noise] ¿que? ¡hi!": "hello she said no yes que hi",
    'He said: "go"! Then,sit -- or not': "he said go then sit or not",
    "Wait--what ...and then... no": "wait what and then no",
    "it — it's, I--I'm, I... I think, no -- well - yes": "it it's i i'm i i think no well yes",
    "ｆｕｌｌ　ｗｉｄｔｈ！ ﬁne": "full width fine",
    "one\u2028two\u2029three\x0bfour\x0cfive\x1csix\x85seven\u00a0eight\u3000nine": "one two three four five six seven "
    "eight nine",
    "\ufeffhel\u200dlo so\u00adft \u200b day so\u200bon\u2800it": "hello soft day so on it",
    "cafe\u0301 nai\u0308ve": "café naïve",
    " . - … ' \" ": "",
    # Apostrophes.
    "It's O’CLOCK, it`s x´s": "it's o'clock it's x's",
    "'em ’tis the dogs' 'round' rock 'n' roll": "'em 'tis the dogs' round rock 'n roll",
    "'go there' the zzyzxs' d'": "go there the zzyzxs d'",
    "you 've we 're that 's. I 'm he 'd (laughs) they 'll": "you've we're that's i'm he'd they'll",
    "do n't ca n't gon na": "don't can't gonna",
    "don ' t o ' clock it' s don''t don 't.": "don't o'clock it's don't don't",
    "the dogs ' bones ' he said ' no ' '": "the dogs bones he said no",
    "``go '' the 's' sound": "go the s sound",
    # Dots.
    "Mr. Smith, Dr. Who, etc.": "mr smith dr who etc",
    "Prof. Jones of the U.S. at a.m. or A.M": "prof. jones of the u.s. at a.m. or a.m.",
    "Ph.D. and Ph.D and PhD in the U.S...": "ph.d. and ph.d. and phd in the u.s.",
    "I.T. F.B.I. A.B.C.D. J. Doe": "i t f b i a b c d j doe",
    "Come in. Sit in.": "come in sit in",
    "Jan. to Jan.": "jan. to jan",
    "me vs. them": "me vs. them",
    "He sat in the sun.": "he sat in the sun",
    "Rep. Jones": "rep jones",
    # Hyphens and underscores.
    "twenty-one forty-fives e‑mail": "twenty-one forty fives e-mail",
    "- Hello, Monday–Friday": "hello monday friday",
    "zzyzx-like I-I think it-it's": "zzyzx-like i i think it it's",
    "L_C_D_ new_york _so_": "l c d new york so",
    # Marks.
    "hi [laughter-yes] there": "hi yes there",
    "JOHN: HELLO [noise]": "john hello",
    "I said: No": "i said no",
    "No. I do": "no i do",
    "WELL ,COMMA !EXCLAMATION-POINT": "well comma exclamation-point",
}

DROPPED = {
    "<noise>": "noise", "<NOISE>": "noise", "[noise]": "noise", "{NOISE}": "noise", "++NOISE++": "noise",
    "[<door_slam]": "noise", "[door_slam/]": "noise", "<SPOKEN_NOISE>": "noise", "[vocalized-noise]": "noise",
    "<v-noise>": "noise", "<b_aside>": "noise", "(Applause)": "noise", "[phone ringing]": "noise", "<music>": "noise",
    "{LAUGH}": "laughter", "[laughter]": "laughter", "<laugh/>": "laughter", "((laughs))": "laughter",
    "{BREATH}": "breath", "{SMACK}": "breath", "[cough]": "breath", "[clears throat]": "breath", "<lipsmack>": "breath",
    "%HESITATION": "hesitation", "%uh": "hesitation", "{UM}": "hesitation", "<hes>": "hesitation",
    "!SIL": "silence", "!sil": "silence", "<sil>": "silence", "[silence]": "silence", "<s>": "silence",
    "</s>": "silence", "<eps>": "silence", "<no-speech>": "silence", "[long pause]": "silence",
    "<COMMA>": "punctuation",
}  # fmt: skip

REASONS = {
    "in 2 days": (DIGITS, "2"), "½": (DIGITS, "½"), "x²": (DIGITS, "x²"), "word(2)": (DIGITS, "word(2)"),
    "chapter Ⅳ": (DIGITS, "ⅳ"), "٣": (DIGITS, "٣"), "[1]": (UNKNOWN_MARK, "[1]"),
    "AT&T": (SYMBOLS, "at&t"), "rhythm & blues": (SYMBOLS, "&"), "ten %": (SYMBOLS, "%"), "£": (SYMBOLS, "£"),
    "a+b": (SYMBOLS, "a+b"), "a=b": (SYMBOLS, "a=b"), "and/or": (SYMBOLS, "and/or"), "me@x": (SYMBOLS, "me@x"),
    "it is ʰello": (SYMBOLS, "ʰello"), "xᵃ": (SYMBOLS, "xᵃ"), "Hₐ": (SYMBOLS, "hₐ"), ":)": (SYMBOLS, ")"),
    "*word*": (SYMBOLS, "*word*"), "#": (SYMBOLS, "#"), "°": (SYMBOLS, "°"), "Nº": (SYMBOLS, "nº"),
    "Windows™": (SYMBOLS, "windows™"), "hi \ufffd": (SYMBOLS, "\ufffd"), "hi \x00": (SYMBOLS, "\x00"),
    "book(s)": (SYMBOLS, "book(s)"), "amazon.com": (SYMBOLS, "amazon.com"), "[open": (SYMBOLS, "[open"),
    "%percent": (SYMBOLS, "%percent"), "a < b": (SYMBOLS, "<"), ".com": (SYMBOLS, ".com"), "(so": (SYMBOLS, "(so"),
    "zzyzx 's": (SYMBOLS, "zzyzx 's"), "'s": (SYMBOLS, "'s"), "zzyzx ' m": (SYMBOLS, "zzyzx 'm"),
    "get ' em": (SYMBOLS, "get 'em"), "d'. or": (SYMBOLS, "d' or"), "you-_'ve": (SYMBOLS, "you-_'ve"),
    "so.On": (SYMBOLS, "so.on"), "be.At": (SYMBOLS, "be.at"), "e.mail": (SYMBOLS, "e.mail"),
    "f---": (SYMBOLS, "f---"), "s__t": (SYMBOLS, "s__t"), "hi ____ there": (SYMBOLS, "____"), "sh-t": (SYMBOLS, "sh-t"),
    "mr —— said": (SYMBOLS, "——"), "Mr. ⸺": (SYMBOLS, "⸺"),
    "J.O.H.N.": (ABBREVIATION, "j.o.h.n."), "N.A.T.O. is": (ABBREVIATION, "n.a.t.o."),
    "Gen. Grant": (ABBREVIATION, "gen."), "it is wed.": (ABBREVIATION, "wed."), "Fig. five": (ABBREVIATION, "fig."),
    "the sun. Then": (ABBREVIATION, "sun."),
    "hi (he said)": (UNKNOWN_MARK, "(he said)"), "(door closes) hi": (UNKNOWN_MARK, "(door closes)"),
    "JOHN: hello": (UNKNOWN_MARK, "john:"), "[noise] MR. X: hello": (UNKNOWN_MARK, "mr. x:"),
    "hi <unk>": (UNTRANSCRIBED, "<unk>"), "<UNK>": (UNTRANSCRIBED, "<unk>"), "xxx hi": (UNTRANSCRIBED, "xxx"),
    "[inaudible]": (UNTRANSCRIBED, "[inaudible]"), "(inaudible)": (UNTRANSCRIBED, "(inaudible)"),
    "<unintelligible>": (UNTRANSCRIBED, "<unintelligible>"), "[[skip]]": (UNTRANSCRIBED, "[[skip]]"),
    "(()) hi": (UNTRANSCRIBED, "(())"), "(( )) hi": (UNTRANSCRIBED, "(( ))"), "[?]": (UNTRANSCRIBED, "[?]"),
    "((so i)) hi": (UNTRANSCRIBED, "((so i))"), "(…)": (UNTRANSCRIBED, "(...)"),
    "[background speech]": (UNTRANSCRIBED, "[background speech]"), "[speaker]": (UNKNOWN_MARK, "[speaker]"),
    "[he] went": (UNKNOWN_MARK, "[he]"), "<foo> hi": (UNKNOWN_MARK, "<foo>"), "{alumin}ium": (UNKNOWN_MARK, "{alumin}"),
    "th- the": (BROKEN_OFF, "th-"), "b-but": (BROKEN_OFF, "b-but"), "and -cause": (BROKEN_OFF, "-cause"),
    "well w—what": (BROKEN_OFF, "w—what"), "b— but": (BROKEN_OFF, "b—"), "th-- um": (BROKEN_OFF, "th--"),
    "b... um": (BROKEN_OFF, "b..."), "b . . . but": (BROKEN_OFF, "b . . . but"), "th - the": (BROKEN_OFF, "th - the"),
    "—cause": (BROKEN_OFF, "—cause"), "‘st–’ um": (BROKEN_OFF, "'st–'"), "s--t": (BROKEN_OFF, "s--t"),
    "oh sh...t.": (BROKEN_OFF, "sh...t."), "sh—t": (BROKEN_OFF, "sh—t"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WORDS.items())
def test_words(text, words):
    read = normalize(text, cmudict())
    assert " ".join(read.words) == words and not read.reason


@pytest.mark.parametrize(("mark", "kind"), DROPPED.items())
def test_marks_of_noise_and_silence_are_dropped_and_counted(mark, kind):
    for text in (f"we {mark} call", f"{mark} we call {mark}"):
        read = normalize(text, cmudict())
        assert (read.words, read.marks) == (("we", "call"), (kind,))
    assert normalize(mark, cmudict()).words == ()


@pytest.mark.parametrize(("text", "reason"), REASONS.items())
def test_reasons(text, reason):
    read = normalize(text, cmudict())
    assert (read.reason, read.token) == reason and read.words == ()


def test_a_lexicon_decides_what_is_a_word():
    known = {"at&t", "th-", "zzyzx-like", "b-but", "x.com", "l_c_d_", "xxx", "%percent", "d'", "p.s."}
    text = 'AT&T, "at&t." TH- zzyzx-like B-but x.com. L_C_D_ xxx %PERCENT d\' P.S.'
    expected = "at&t at&t th- zzyzx-like b-but x.com l_c_d_ xxx %percent d' p.s."
    assert normalize(text, known).words == tuple(expected.split())
    assert normalize("AT&T", ()).reason == SYMBOLS
    assert all(map(is_word, known)) and not any(map(is_word, [*DROPPED, "<unk>", "", ".", "3d", "two words", "[x]"]))


def test_abbreviations_are_left_out_unless_a_sentence_may_end_in_the_word():
    assert not ABBREVIATIONS & NEVER_LAST and cmudict().keys() >= ABBREVIATIONS | NEVER_LAST
    for word in ABBREVIATIONS | NEVER_LAST:
        known = cmudict().keys() - {f"{word}."}
        assert normalize(f"so {word}. then", known).reason == ABBREVIATION
        assert normalize(f"so {word}. then", known | {f"{word}."}).words == ("so", f"{word}.", "then")
        assert normalize(f"so {word}", known).words == ("so", word)
        assert normalize(f"so {word}.", known).words == (() if word in NEVER_LAST else ("so", word))


def test_invisible_characters_are_removed():
    for code in (*IGNORABLE, 0x200C, 0x200D, 0x00AD, 0xFEFF):
        assert normalize(f"he{chr(code)}llo{chr(code)}", cmudict()).words == ("hello",)


def test_each_kind_of_mark_is_named_once():
    names = [name for kind in MARKS.values() for name in kind.split()]
    assert len(names) == len(set(names))


PIECES = st.sampled_from(
    [
        *WORDS,
        *DROPPED,
        *REASONS,
        "mass.",
        "gen.",
        "o'",
        "'s",
        "n't",
        "--",
        "—",
        "'",
        "-",
        ".",
        "_",
        "(",
        ")",
        "n",
        "s",
        "ß",
        "ſ",
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="abis.'-_() \t", max_size=12),
    st.text(alphabet="dorts.'-—\" ", max_size=12),
    st.lists(PIECES).map("".join),
    st.lists(PIECES).map(" ".join),
)
KNOWN = st.one_of(
    st.just(cmudict()), st.sets(st.text(alphabet="abs.'-&", max_size=4)), st.sets(st.text("ds'.", max_size=3))
)


@given(TEXTS, KNOWN)
@example("mass. \u0301", cmudict())
def test_words_of_any_text_are_words_and_stay_the_same(text, known):
    read = normalize(text, known)
    assert not (read.reason and read.words)
    assert normalize(" ".join(read.words), known) == type(read)(read.words)
    for word in read.words:
        assert word == fold(word) and not set(word) & set("<>[]{}()")
        assert not any(c.isspace() or unicodedata.category(c)[0] == "N" for c in word)
        assert word in known or (any(c.isalpha() for c in word) and "&" not in word)


@given(TEXTS, KNOWN)
@example("Got ta don't twenty-one", cmudict())
@example("go", {"go"})
def test_texts_of_plain_words_are_read_as_any_others(text, known):
    slowly = normalize(f"{text}\u00ad", known)  # an invisible character is no plain word
    assert normalize(text, known) == slowly


def test_long_transcripts_take_time_in_proportion():
    began = time.perf_counter()
    assert len(normalize("Go, " * 40_000, cmudict()).words) == 40_000
    for text in ("[" * 20_000, "(" * 20_000):
        assert normalize(text, cmudict()).reason == SYMBOLS
    assert time.perf_counter() - began < 10


@given(TEXTS.filter(lambda text: "ı" not in text and not any(map(str.islower, text.upper()))))
def test_capitals_matter_only_before_a_colon(text):
    assert normalize(text.upper(), cmudict()) == normalize(text.lower(), cmudict())
