"""GB/T 26875.3-2011: fire alarm transmitters that call us."""
