"""Programs that take turns, each in a process of its own, and what their seconds say."""
