"""Who computes: this process, or several that share the work."""
