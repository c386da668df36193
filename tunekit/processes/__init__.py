"""Processes apart: children that end with their parent, servers, sandboxes, interrupts.

Nothing here knows of tuning.
"""
