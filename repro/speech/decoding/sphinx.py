"""pocketsphinx's decoder called through its C library, which accepts scores of tied states in place of audio.

``ps_decode_senscr``, which the Python interface lacks, reads scores from a file: a text header, then for each frame an
int16 with the number of states and one int16 per state, 0 for the best state and one more for each ``UNIT`` nats
below it. Here the file is in memory. All use of ctypes is in this module.
"""

import ctypes
import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pocketsphinx
from jaxtyping import Int

from repro.data.speech.lexicon import cmudict
from repro.errors import UserError
from repro.speech.alignment import STATES

LOG_BASE, LOG_ZERO = 1.0001, -(2**29)  # of pocketsphinx's logarithms
UNIT = 1024 * math.log(LOG_BASE)  # nats
WORST = 32767  # units, 3,355 nats: the score of a state that no path passes

# Decoders are independent of each other, but whether they may be created concurrently is undocumented.
_LOADING = Lock()


class Sphinx:
    """A decoder of pocketsphinx's C library, for scores or for audio; one decoder must not be used for both."""

    def __init__(self, dictionary: Path, language_model: Path, options: Mapping[str, float]):
        """Create a decoder.

        Args:
            options: pocketsphinx's options by name; empty for its defaults, with its acoustic model.

        Raises:
            UserError: pocketsphinx rejects the language model, or the installed library lacks a function.
        """
        # Dropping a search pass or phone look-ahead would be faster; look-ahead would have to go back in the file.
        config = _library().ps_config_init(None)
        model = pocketsphinx.get_model_path("en-us/en-us")
        for name, text in {"hmm": model, "dict": dictionary, "lm": language_model, "loglevel": "FATAL"}.items():
            _library().ps_config_set_str(config, name.encode(), os.fsencode(str(text)))
        for name, value in options.items():
            set_value = _library().ps_config_set_int if isinstance(value, int) else _library().ps_config_set_float
            set_value(config, name.encode(), value)
        if options:
            _library().ps_config_set_bool(config, b"compallsen", 1)
            _library().ps_config_set_int(config, b"pl_window", 0)
        with _LOADING:
            self.decoder = _library().ps_init(config)
        _library().ps_config_free(config)
        if not self.decoder:
            raise UserError(f"pocketsphinx cannot use the language model {language_model}")

    def decode_costs(self, costs: Int[np.ndarray, "frame state"]) -> list[str]:
        """Return the words of one utterance from its costs, in ``UNIT`` nats below the best state."""
        # The second pass starts reading one frame late. With the first frame written twice it reads all frames, and
        # the last one twice.
        frames = np.full((1 + len(costs), 1 + STATES), STATES, dtype=np.int16)
        frames[0, 1:], frames[1:, 1:] = costs[0], costs
        header = f"s3\nversion 0.1\nn_sen {STATES}\nlogbase 1.0001\nendhdr\n".encode()
        content = header + np.uint32(0x11223344).tobytes() + frames.tobytes()  # marks the byte order
        file = _c_library().fmemopen(content, len(content), b"rb")
        try:
            _library().ps_decode_senscr(self.decoder, file)
        finally:
            _c_library().fclose(file)
        return self._hypothesis()

    def decode_audio(self, samples: Int[np.ndarray, "sample"]) -> list[str]:
        """Return the words of one utterance from int16 samples at 16 kHz."""
        _library().ps_reinit_feat(self.decoder, None)  # otherwise the noise estimate depends on earlier recordings
        _library().ps_start_utt(self.decoder)
        _library().ps_process_raw(self.decoder, samples.ctypes.data, len(samples), 0, 1)
        _library().ps_end_utt(self.decoder)
        return self._hypothesis()

    def _hypothesis(self) -> list[str]:
        text = _library().ps_get_hyp(self.decoder, None)
        return text.decode().split() if text else []

    def __del__(self):
        if getattr(self, "decoder", None):
            _library().ps_free(self.decoder)


@cache
def general_words(count: int) -> dict[str, float]:
    """Return the most frequent words of pocketsphinx's language model of general English that its dictionary has.

    Returns:
        The unigram probability of each word.
    """
    model = pocketsphinx.NGramModel.readfile(pocketsphinx.get_model_path("en-us/en-us.lm.bin"))
    logs = {word: model.prob([word]) for word in cmudict()}
    most_frequent = sorted((word for word in logs if logs[word] > LOG_ZERO), key=logs.__getitem__, reverse=True)
    return {word: LOG_BASE ** logs[word] for word in most_frequent[:count]}


@cache
def _library() -> ctypes.CDLL:
    """Return pocketsphinx's library with the signatures of the functions used here."""
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    return _with_signatures(ctypes.CDLL(pocketsphinx.pocketsphinx.__file__), {
        "ps_config_init": (pointer, pointer),
        "ps_config_free": (number, pointer),
        "ps_config_set_str": (pointer, pointer, text, text),
        "ps_config_set_bool": (pointer, pointer, text, number),
        "ps_config_set_int": (pointer, pointer, text, ctypes.c_long),
        "ps_config_set_float": (pointer, pointer, text, ctypes.c_double),
        "ps_init": (pointer, pointer),
        "ps_free": (number, pointer),
        "ps_reinit_feat": (number, pointer, pointer),
        "ps_decode_senscr": (number, pointer, pointer),
        "ps_start_utt": (number, pointer),
        "ps_process_raw": (number, pointer, pointer, ctypes.c_size_t, number, number),
        "ps_end_utt": (number, pointer),
        "ps_get_hyp": (text, pointer, pointer),
    })  # fmt: skip


@cache
def _c_library() -> ctypes.CDLL:
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    signatures = {"fmemopen": (pointer, text, ctypes.c_size_t, text), "fclose": (ctypes.c_int, pointer)}
    return _with_signatures(ctypes.CDLL(None), signatures)


def _with_signatures(library: ctypes.CDLL, signatures: Mapping[str, tuple]) -> ctypes.CDLL:
    for name, (result, *arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise UserError(
                f"decoding: the installed libraries lack the function {name}; decoding requires Linux with glibc or "
                "macOS, and pocketsphinx 5.0 or 5.1"
            ) from error
        function.restype, function.argtypes = result, arguments
    return library
