"""pocketsphinx's decoder through its C library, which takes scores of tied states in the place of sound.

It reads them from a file (``ps_decode_senscr``, which its Python interface lacks): a text header, then of each frame
an int16 with the number of states and as many int16, 0 for the best state and one more for each ``UNIT`` nats
below it. Here the file is one in memory.
"""

import ctypes
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pocketsphinx
from jaxtyping import Int

from repro.errors import UserError
from repro.speech.alignment import STATES

UNIT = 1024 * math.log(1.0001)  # nats
WORST = 32767  # of these units, 3,355 nats: a state that no path gets through

# Decoders are independent of each other; that they may be made at the same time, nobody says.
_LOADING = Lock()


class Sphinx:
    """A decoder of pocketsphinx's C library. It hears scores or sound, but not first one and then the other."""

    def __init__(self, dictionary: Path, language_model: Path, options: Mapping[str, float]):
        # Fewer passes or a look ahead in phones would be quicker; the latter needs to go back in the file.
        config = _library().ps_config_init(None)
        model = pocketsphinx.get_model_path("en-us/en-us")
        for name, text in {"hmm": model, "dict": dictionary, "lm": language_model, "loglevel": "FATAL"}.items():
            _library().ps_config_set_str(config, name.encode(), str(text).encode())
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

    def listen_to_costs(self, costs: Int[np.ndarray, "frame state"]) -> list[str]:
        # The second pass reads each frame from where the first one stood after it, which is the next one; with the
        # first frame twice it reads all of them, and the last one twice.
        frames = np.full((1 + len(costs), 1 + STATES), STATES, dtype=np.int16)
        frames[0, 1:], frames[1:, 1:] = costs[0], costs
        header = f"s3\nversion 0.1\nn_sen {STATES}\nlogbase 1.0001\nendhdr\n".encode()
        content = header + np.uint32(0x11223344).tobytes() + frames.tobytes()  # the number tells the byte order
        file = _c_library().fmemopen(content, len(content), b"rb")
        try:
            _library().ps_decode_senscr(self.decoder, file)
        finally:
            _c_library().fclose(file)
        return self._found()

    def listen_to_sound(self, samples: Int[np.ndarray, "sample"]) -> list[str]:
        _library().ps_reinit_feat(self.decoder, None)  # or its estimate of the noise depends on the recordings before
        _library().ps_start_utt(self.decoder)
        _library().ps_process_raw(self.decoder, samples.ctypes.data, len(samples), 0, 1)
        _library().ps_end_utt(self.decoder)
        return self._found()

    def _found(self) -> list[str]:
        text = _library().ps_get_hyp(self.decoder, None)
        return text.decode().split() if text else []

    def __del__(self):
        if getattr(self, "decoder", None):
            _library().ps_free(self.decoder)


@cache
def _library() -> ctypes.CDLL:
    """pocketsphinx's library, with what its functions give and take."""
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
    for name, (gives, *takes) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    return library
