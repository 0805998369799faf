"""Speech corpora: utterances with their speakers, transcripts and audio files, from three sources.

``corpus`` holds the types and the audio reader, ``sources`` selects a corpus by setting: a Kaldi data directory
(``kaldi``), LibriSpeech (``librispeech``), or synthetic speech made on this machine (``synth``). ``transcripts`` reads
words, ``lexicon`` their pronunciations. Acoustic features and alignments are in ``repro.speech``.
"""
