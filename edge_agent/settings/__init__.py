"""The configuration, the profiles, and which version of them runs."""
