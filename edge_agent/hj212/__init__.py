"""HJ 212-2017: pollution sources and environmental stations that call us."""
