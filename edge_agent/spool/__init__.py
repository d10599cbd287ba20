"""What is kept until the far end has stored it."""
