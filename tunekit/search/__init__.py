"""The search: tasks and a budget become measured trials."""
