"""The engine as processes of their own on Kafka: bridge, score, store, archive, read.

Each role is a module `<role>_process.py` with its settings and `run`; `stream-processor ROLE --config FILE` starts it.
"""
