"""What this gateway may switch: actuators, local outputs, and the audit log."""
