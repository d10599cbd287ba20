"""Grafana: the code that builds its dashboards and data sources, and the built files, which are committed.

`influx_query` (what is asked), `panel` (how it is shown), a module for each dashboard (`city_board`, `node_board`,
`pipeline_board`), `source` (data sources). Shell: `build_dashboards`, which writes `dashboards/` and `provisioning/`.
Grafana reads those; no code of this package runs on the platform.
"""
