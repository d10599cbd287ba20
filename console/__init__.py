"""The web page for emergency staff and operators: alarms, fleet, trends. Reads REST APIs and nothing else."""
