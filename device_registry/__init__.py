"""The fleet: what stands where, which number each channel has, which alarm conditions it carries.

The way of a fleet file: `fleet_file` checks it, `import_plan` chooses what to change, `store` makes it durable in
SQLite or PostgreSQL (`database`), `snapshot_feed` gives it to whoever waits. Pure: `audit`, `configuration`, `errors`,
`fleet_file`, `import_plan`, `node_life_cycle`, `schema`. Shells: the rest.
"""
