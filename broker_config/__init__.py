"""Broker configuration, access lists and password files, rendered from one description of who may connect.

Pure renderers: `mosquitto`, `rumqttd`. Shell: `cli` (reads the description and the passwords, writes the files).
EMQX, Kafka topics and InfluxDB come with the distributed engine.
"""
