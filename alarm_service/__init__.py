"""Alarm life cycle (ISA-18.2 / IEC 62682), its durable journal, and the HTTP API that people's pages stand on.

The way of a condition: `http_api` takes it in, `life_cycle` decides, `journal` makes it durable, `change_signal`
wakes the long polls. Pure: `configuration`, `errors`, `life_cycle`. Shells: the rest.
"""
