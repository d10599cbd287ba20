"""Broker configuration, access lists and password files, rendered from one description of who may connect.

Pure renderers: `mosquitto`, `rumqttd`, `kafka_topic`, `influxdb`. Shells: `cli` (reads the description and the
passwords, writes the files), `set_up_influxdb` (makes buckets and tasks on a server).
"""
