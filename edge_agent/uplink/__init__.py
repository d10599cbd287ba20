"""The way to the host: Sparkplug, MQTT, TLS, what is sent again, what the host asks."""
