"""Networks of speech: from phonemes and a voice to latents, and from latents to sound.

An utterance that is padded to a bucket is the same as at its own length: every network takes masks, and what a
convolution sees of rows that do not count is zero.
"""
