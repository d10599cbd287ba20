"""Sensors whose frames are declared, not programmed: the language of their profiles, and what reads it."""
