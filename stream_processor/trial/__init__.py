"""Trials, without a server: the shipped detectors over any file (`score`), a rule over stored history (`backtest`)."""
