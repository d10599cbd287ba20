"""Sparkplug B 3.0: topics, data types and the payload codec."""
