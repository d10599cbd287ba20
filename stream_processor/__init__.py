"""Stream processor: Sparkplug host, quality control, scores, alarm conditions, stores.

The way of a reading through this package (embedded engine):

    mqtt_to_channel → host_session → [bounded channel] → channel_to_store: pipeline → duckdb_store → acknowledgement
                                                                            └→ outbox_to_alarm_service
"""
