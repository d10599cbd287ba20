"""What a field engineer types beside `run`: decode, read-once, scan, watch."""
