"""Broker configuration, access lists and password files, rendered from one description of who may connect.

Pure renderers: `mosquitto`, `emqx`, `rumqttd`, `kafka_topic`, `influxdb`; `broker_file` puts a broker's files together.
Shells: `cli` (reads the description and the passwords, writes or checks the files), `set_up_influxdb` (makes buckets
and tasks on a server).
"""
