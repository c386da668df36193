"""Runtimes: what can run a model, one small file each, and the process that runs one.

This module imports nothing: a runtime's process imports it first, and its memory is measured.
"""
