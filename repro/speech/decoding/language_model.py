"""Trigram language model, estimated from transcripts and written as an ARPA file for decoders.

Interpolated Kneser-Ney smoothing with one discount for each order (Kneser & Ney 1995; the form of Chen & Goodman
1998, section 2.7). With c the count of an n-gram, for n < 3 the number of different words found before it,

    p(w | h) = max(c(hw) - D, 0) / c(h) + g(h) p(w | h without its first word),    g(h) = D n(h) / c(h),

where c(h) is the sum of c(hw) over w, n(h) the number of different w, and D = n1 / (n1 + 2 n2) with n1 and n2 the
numbers of n-grams whose c is 1 and 2. Unigrams are interpolated with the uniform distribution over the vocabulary,
which is the words of the transcripts; or, with a list of general words, these join the vocabulary, and unigrams are
interpolated with the list's probabilities. A word outside the vocabulary has probability 0. The probabilities of every
context sum to one.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.engine.files import write
from repro.errors import UserError

START, END = "<s>", "</s>"
ORDER = 3

Gram = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """Probabilities of n-grams and back-off factors of contexts.

    ``vocabulary`` is sorted and contains neither ``<s>``, which is never predicted, nor ``</s>``, which is.
    """

    vocabulary: tuple[str, ...]
    probability: dict[Gram, float]
    back_off: dict[Gram, float]

    def __call__(self, word: str, history: Sequence[str] = ()) -> float:
        """Return p(word | history), which depends on the last two words; 0 for a word outside the vocabulary."""
        gram, factor = (*history[max(0, len(history) - ORDER + 1) :], word), 1.0
        while gram:
            if gram in self.probability:
                return factor * self.probability[gram]
            factor *= self.back_off.get(gram[:-1], 1.0)
            gram = gram[1:]
        return 0.0

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> tuple[float, int]:
        """Return the perplexity of known words and sentence ends, and the number of unknown words, which are skipped.

        Raises:
            UserError: there is no sentence.
        """
        surprise, count, unknown = 0.0, 0, 0
        for sentence in sentences:
            history = [START]
            for word in (*sentence, END):
                probability = self(word, history)
                if probability > 0:
                    surprise, count = surprise - math.log(probability), count + 1
                else:
                    unknown += 1
                history.append(word)
        if not count:
            raise UserError("language model: there is no sentence to compute a perplexity of")
        return math.exp(surprise / count), unknown

    def write(self, path: Path) -> None:
        """Write an ARPA file atomically: log10 probability, n-gram and log10 back-off factor in each line."""
        orders = [sorted(gram for gram in self.probability if len(gram) == n) for n in range(1, ORDER + 1)]
        orders[0].insert(0, (START,))
        lines = ["\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(orders, 1))]
        for n, grams in enumerate(orders, 1):
            lines += ["", f"\\{n}-grams:"]
            for gram in grams:
                log = math.log10(self.probability[gram]) if gram in self.probability else -99
                more = f"\t{math.log10(self.back_off[gram]):.6f}" if gram in self.back_off else ""
                lines.append(f"{log:.6f}\t{' '.join(gram)}{more}")
        write(path, "\n".join([*lines, "", "\\end\\", ""]).encode())


def estimate(sentences: Iterable[Sequence[str]], general: Mapping[str, float] | None = None) -> LanguageModel:
    """Return the model of the training sentences.

    Args:
        sentences: the training sentences; the vocabulary is their words.
        general: further words of the vocabulary, with their probabilities in general text. Default: none.

    Raises:
        UserError: there is no word in the sentences.
    """
    whole: Counter[Gram] = Counter()
    for sentence in sentences:
        padded = (START, *sentence, END)
        for n in range(1, ORDER + 1):
            whole.update(padded[i : i + n] for i in range(len(padded) - n + 1))
    words = {gram[0] for gram in whole if len(gram) == 1} - {START, END}
    if not words:
        raise UserError("language model: the transcripts contain no word")
    known = tuple(sorted(words.union(general or ())))
    probability = _initial_unigrams(known, whole, general)
    back_off: dict[Gram, float] = {}
    for n in range(1, ORDER + 1):
        lower = LanguageModel(known, dict(probability), dict(back_off))
        counts = {gram: count for gram, count in _counts(whole, n).items() if gram != (START,)}
        discount = _discount(counts.values())
        total: dict[Gram, int] = defaultdict(int)
        different: dict[Gram, int] = defaultdict(int)
        for gram, count in counts.items():
            total[gram[:-1]] += count
            different[gram[:-1]] += 1
        reserved = {history: discount * different[history] / total[history] for history in total}
        if n == 1:  # every word has a probability already
            counts = {gram: counts.get(gram, 0) for gram in probability}
        for gram, count in counts.items():
            *history, word = gram
            discounted = max(count - discount, 0) / total[gram[:-1]]
            probability[gram] = discounted + reserved[gram[:-1]] * lower(word, history[1:])
        back_off |= {history: factor for history, factor in reserved.items() if history}
    return LanguageModel(known, probability, back_off)


def _initial_unigrams(
    known: Sequence[str], whole: Counter[Gram], general: Mapping[str, float] | None
) -> dict[Gram, float]:
    """Return the distribution that unigrams are interpolated with, over ``known`` and ``END``.

    It is uniform; or that of ``general``, where words that it lacks count as its rarest and sentences end as often as
    in the training sentences.
    """
    if not general:
        return {(word,): 1 / (len(known) + 1) for word in (*known, END)}
    end = whole[END,] / sum(count for gram, count in whole.items() if len(gram) == 1 and gram != (START,))
    rarest = min(general.values())
    weights = {word: general.get(word, rarest) for word in known}
    total = sum(weights.values())
    fractions: dict[Gram, float] = {(word,): (1 - end) * weight / total for word, weight in weights.items()}
    return fractions | {(END,): end}


def _counts(whole: Counter[Gram], n: int) -> dict[Gram, int]:
    """Return counts of n-grams; below the highest order, of different preceding words, except at a sentence's start."""
    if n == ORDER:
        return {gram: count for gram, count in whole.items() if len(gram) == n}
    counts = Counter(gram[1:] for gram in whole if len(gram) == n + 1)
    return {**counts, **{gram: count for gram, count in whole.items() if len(gram) == n and gram[0] == START}}


def _discount(counts: Iterable[int]) -> float:
    """Return n1 / (n1 + 2 n2), or 1/2 where that would be 0 or 1."""
    numbers = Counter(counts)
    ones, twos = numbers[1], numbers[2]
    return ones / (ones + 2 * twos) if ones and twos else 0.5
