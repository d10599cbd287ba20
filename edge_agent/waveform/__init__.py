"""Waveforms: a logger's ring of samples, read in blocks, timed, sent as arrays, reduced to features of each second."""
