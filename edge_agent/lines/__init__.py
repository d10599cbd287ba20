"""The lines to devices: who is polled when, who is listened to, and what of it becomes a reading."""
