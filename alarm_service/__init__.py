"""Alarm life cycle (ISA-18.2 / IEC 62682), its durable journal, and the HTTP API that people's pages stand on.

The way of a condition: `http_api` or `kafka_to_journal` takes it in, `intake` and `life_cycle` decide, `journal` makes
it durable in SQLite or PostgreSQL (`database`), `change_signal` wakes the long polls. Pure: `condition_message`,
`configuration`, `errors`, `health`, `intake`, `life_cycle`, `progress_watch`, `schema`. Shells: the rest.
"""
