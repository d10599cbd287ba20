"""Field devices of a city that does not exist: wire bytes, plausible signals, faults, and ledgers.

Nothing here uses the codecs of the other programs: what an agent is tested against must not be the agent's own idea
of a frame. The bytes are checked against published frames (tests/unit/simulators).
"""
