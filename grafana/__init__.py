"""Grafana: provisioned data sources and dashboards, and the code that builds them (issue 5)."""
