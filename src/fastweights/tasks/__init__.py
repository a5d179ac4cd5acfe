"""What must be remembered: one file a task, found by its name."""
