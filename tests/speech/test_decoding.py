"""Decoding: the language model and the decoder."""

import ctypes
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pocketsphinx
import pytest

from repro.data.speech.lexicon import cmudict, pronunciations
from repro.errors import UserError
from repro.speech.alignment import STATES
from repro.speech.decoding import decoder as decoding
from repro.speech.decoding import language_model, sphinx
from repro.speech.decoding.decoder import Decoder, Search, transcribe

SENTENCES = [
    "we call it bear", "we see the cat", "the cat sees a bear", "call the cat", "we call a bear the cat", "it sees we",
]  # fmt: skip
SENTENCES = [sentence.split() for sentence in SENTENCES]
RARE = [["elephant"], ["dog"]]


@pytest.fixture(scope="module")
def model() -> language_model.LanguageModel:
    return language_model.estimate(SENTENCES + RARE)


@pytest.fixture(scope="module")
def arpa(model: language_model.LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    model.write(path)
    return path


@pytest.fixture(scope="module")
def dictionary(model: language_model.LanguageModel) -> dict:
    return pronunciations(model.vocabulary)


@pytest.fixture(scope="module")
def decoder(arpa: Path, dictionary: dict) -> Decoder:
    return Decoder(dictionary, arpa)


@cache
def states_of(text: str) -> list[int]:
    """Return the tied states of a text, by aligning it to noise with beams that drop no path."""
    wide = {name: 1e-300 for name in ("beam", "pbeam", "wbeam")}
    aligner = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL", **wide)
    noise = np.random.default_rng(0).integers(-3000, 3000, 32_000).astype(np.int16).tobytes()
    aligner.set_align_text(text)
    for second in (False, True):
        if second:
            aligner.set_alignment()
        aligner.start_utt()
        aligner.process_raw(noise, full_utt=True)
        aligner.end_utt()
    return [int(state.name) for word in aligner.get_alignment() for phone in word for state in phone]


def scores_of(states: list[int], frames: int = 3, clarity: float = 8.0) -> np.ndarray:
    """Return scores in which the given states stand out one after another, each for some frames."""
    scores = np.random.default_rng(0).normal(size=(frames * len(states), STATES)).astype(np.float32)
    scores[np.arange(len(scores)), np.repeat(states, frames)] += clarity
    return scores


# The language model.


@pytest.mark.parametrize(
    "history", [(), ("<s>",), ("we",), ("<s>", "we"), ("we", "call"), ("the", "cat"), ("elephant",), ("dog", "we")]
)
def test_probabilities_of_each_context_sum_to_one(model: language_model.LanguageModel, history: tuple[str, ...]):
    total = sum(model(word, history) for word in (*model.vocabulary, "</s>"))
    assert total == pytest.approx(1, abs=1e-12)
    assert model("<s>", history) == 0
    assert model("zebra", history) == 0


def test_kneser_ney_matches_a_computation_by_hand():
    # "a b" twice and "a c": <s> a 3, a b 2, a c 1, b </s> 2, c </s> 1.
    model = language_model.estimate([["a", "b"], ["a", "b"], ["a", "c"]])
    # Words before: a 1 (<s>), b 1, c 1, </s> 2 (b and c), so n1 = 3, n2 = 1 and D = 0.6.
    unigram = {"a": 0.4 / 5, "b": 0.4 / 5, "c": 0.4 / 5, "</s>": 1.4 / 5}
    unigram = {word: discounted + 0.6 * 4 / 5 / 4 for word, discounted in unigram.items()}
    assert {word: model(word) for word in unigram} == pytest.approx(unigram)
    # Different words before: a b 1, a c 1, b </s> 1, c </s> 1; at the start counts: <s> a 3. n2 = 0: D = 1/2.
    assert model("b", ["a"]) == pytest.approx(0.5 / 2 + 0.5 * 2 / 2 * unigram["b"])
    assert model("a", ["<s>"]) == pytest.approx(2.5 / 3 + 0.5 / 3 * unigram["a"])
    # Trigrams: <s> a b 2, <s> a c 1, a b </s> 2, a c </s> 1: n1 = 2, n2 = 2 and D = 1/3.
    assert model("b", ["<s>", "a"]) == pytest.approx((2 - 1 / 3) / 3 + 1 / 3 * 2 / 3 * model("b", ["a"]))
    assert model("a", ["<s>", "a"]) == pytest.approx(1 / 3 * 2 / 3 * model("a", ["a"]))


def test_general_words_share_what_unigrams_reserve_by_their_own_probabilities():
    general = {"zebra": 0.03, "the": 0.9, "yak": 0.01}
    model = language_model.estimate(SENTENCES, general)
    assert {"zebra", "yak"} < set(model.vocabulary) == set(language_model.estimate(SENTENCES).vocabulary) | {*general}
    for history in ((), ("<s>",), ("the",), ("zebra", "yak")):
        assert sum(model(word, history) for word in (*model.vocabulary, "</s>")) == pytest.approx(1)
    assert model("zebra") == pytest.approx(3 * model("yak")) and model("yak", ("the",)) > 0


def test_general_words_are_those_of_pocketsphinxs_dictionary_and_language_model():
    words = sphinx.general_words(5000)
    assert len(words) == 5000 and 0.8 < sum(words.values()) < 1 and set(words) <= cmudict().keys()
    assert words["the"] > 100 * words["hello"] > 0 and max(words.values()) == words["the"]
    assert list(sphinx.general_words(3)) == list(words)[:3] and len(sphinx.general_words(10**6)) > 70_000


def test_perplexity_is_lower_on_training_sentences(model: language_model.LanguageModel):
    seen, unknown = model.perplexity(SENTENCES)
    new, _ = model.perplexity([["the", "dog", "sees", "we"], ["a", "bear"]])
    assert unknown == 0
    assert 1 < seen < new < 5 * len(model.vocabulary)
    assert model.perplexity([["we", "zebra", "call"]])[1] == 1


def test_pocketsphinx_reads_the_same_probabilities(model: language_model.LanguageModel, arpa: Path):
    logarithms = pocketsphinx.LogMath()
    read = pocketsphinx.NGramModel(pocketsphinx.Config(), logarithms, str(arpa))
    for history in [(), ("<s>",), ("we",), ("<s>", "we"), ("the", "cat"), ("elephant", "cat"), ("bear", "it")]:
        for word in (*model.vocabulary, "</s>"):
            probability = logarithms.exp(read.prob([word, *history[::-1]]))
            assert probability == pytest.approx(model(word, history), rel=2e-3), (history, word)


def test_language_model_requires_transcripts():
    with pytest.raises(UserError, match="transcripts"):
        language_model.estimate([[]])
    with pytest.raises(UserError, match="no sentence"):
        language_model.estimate(SENTENCES).perplexity([])


# The decoder.


@pytest.mark.parametrize("text", ["we call it bear", "the cat sees a bear", "elephant", "dog we see"])
def test_clear_scores_are_decoded_to_their_text(decoder: Decoder, text: str):
    assert decoder.words(scores_of(states_of(text))) == text.split()


def test_acoustic_scale_weighs_scores_against_the_language_model(arpa: Path, dictionary: dict):
    # Unclear scores of a text that is unlikely to the language model.
    scores = scores_of(states_of("elephant dog elephant"), clarity=3.0)
    loud, faint = (Decoder(dictionary, arpa, Search(acoustic_scale=scale)) for scale in (3.0, 0.02))
    assert loud.words(scores) == ["elephant", "dog", "elephant"]
    assert faint.words(scores) != ["elephant", "dog", "elephant"]


def test_excluded_states_are_not_decoded(decoder: Decoder):
    states = states_of("dog")
    scores = scores_of(states)
    scores[:, states] = -np.inf
    assert decoder.words(scores) != ["dog"]


@pytest.mark.parametrize("value", [0.0, -1000.0, -np.inf])
@pytest.mark.parametrize("frames", [0, 1, 2, 100])
def test_constant_scores_leave_the_decoder_usable(decoder: Decoder, value: float, frames: int):
    hypothesis = decoder.words(np.full((frames, STATES), value, dtype=np.float32))
    assert set(hypothesis) <= set(decoder.dictionary)
    if frames < 3:
        assert hypothesis == []
    assert decoder.words(scores_of(states_of("dog"))) == ["dog"]


def test_hypotheses_do_not_depend_on_the_number_of_decoders(arpa: Path, dictionary: dict):
    noise = np.random.default_rng(1)
    items = [noise.normal(size=(n, STATES)).astype(np.float32) * 3 for n in (40, 90, 10, 200, 60, 120, 30)]
    items.insert(3, scores_of(states_of("we see the cat")))
    done = Mock()
    hypotheses = [transcribe([Decoder(dictionary, arpa).words for _ in range(n)], iter(items), done) for n in (1, 2, 3)]
    assert hypotheses[0] == hypotheses[1] == hypotheses[2]
    assert hypotheses[0][3] == ["we", "see", "the", "cat"]
    assert sum(map(len, hypotheses[0])) > 4
    assert done.call_count == 3 * len(items)
    alone = Decoder(dictionary, arpa)
    assert [alone.words(item) for item in reversed(items)] == hypotheses[0][::-1]


def test_transcribe_takes_few_items_ahead():
    taken, heard = 0, 0

    def items():
        nonlocal taken
        for n in range(50):
            taken += 1
            assert taken - heard <= 4
            yield n

    def on_done() -> None:
        nonlocal heard
        heard += 1

    assert transcribe([lambda n: [str(n)]] * 2, items(), on_done) == [[str(n)] for n in range(50)]


def test_stock_decoder_hears_nothing_in_silence_and_keeps_no_state(decoder: Decoder):
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1
    heard = decoder.stock(noise)
    assert set(heard) <= set(decoder.dictionary)
    decoder.stock(noise[::2] * 9)
    assert decoder.stock(noise) == heard
    assert decoder.stock(np.zeros(16_000, dtype=np.float32)) == decoder.stock(noise[:0]) == []


def test_costs_are_relative_to_the_best_state():
    scores = np.full((3, STATES), -2.0)
    scores[0, 7], scores[1, 5], scores[2] = 1.0, -np.inf, -np.inf
    costs = decoding.costs(scores, scale=0.5)
    assert costs.dtype == np.int16
    assert costs[0, 7] == 0 and costs[0, 6] == round(1.5 / decoding.UNIT)
    assert costs[1, 5] == decoding.WORST and costs[1, 6] == 0
    assert (costs[2] == decoding.WORST).all()
    assert round(decoding.UNIT, 4) == 0.1024


def test_bad_input_is_named_in_the_message(arpa: Path, dictionary: dict, decoder: Decoder, tmp_path: Path):
    with pytest.raises(UserError, match=r"5126 states, not 4 by 3"):
        decoder.words(np.zeros((4, 3)))
    for bad in (np.nan, np.inf):
        with pytest.raises(UserError, match="NaN or an infinity"):
            decoder.words(np.full((4, STATES), bad))
    with pytest.raises(UserError, match=r"there is no file .*no\.arpa"):
        Decoder(dictionary, tmp_path / "no.arpa")
    with pytest.raises(UserError, match="dog: XX is not one"):
        Decoder({"dog": [("D", "XX")]}, arpa)
    with pytest.raises(UserError, match="acoustic_scale must be above 0"):
        Search(acoustic_scale=0.0)
    broken = tmp_path / "broken.arpa"
    broken.write_text("not a language model\n")
    with pytest.raises(UserError, match=r"broken\.arpa"):
        Decoder(dictionary, broken).words(np.zeros((4, STATES)))


def test_missing_library_function_is_named_in_the_message():
    with pytest.raises(UserError, match="lack the function ps_missing; decoding requires"):
        sphinx._with_signatures(ctypes.CDLL(None), {"ps_missing": (ctypes.c_int,)})
