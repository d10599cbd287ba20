"""Modbus: fields, plans, what a device refuses, late answers; traffic that was captured."""
