"""What crosses a process boundary: pure, no I/O.

Every other package may import this one; no package imports a sibling (tests/unit/test_architecture.py).
"""
