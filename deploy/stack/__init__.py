"""The real servers on one machine without containers: Mosquitto, Kafka, InfluxDB, PostgreSQL.

`kafka/` and `influxdb/` hold the recipes: what is fetched and built, with versions and checksums. What they make stands
in a cache outside the checkout and is used by every later start.
"""
