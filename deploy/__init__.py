"""How citysense is started on one machine: `citysense run`. Starts programs and imports none of them.

Pure: `layout`, `ports`, `configuration_text`, `plan`, `restart_policy`, `announcement`.
Shells: `cli`, `prepare_run`, `supervise`, `probe`, `tether`.
"""
