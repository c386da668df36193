"""This machine and what is installed on it: CPU and its features, target, versions.

Nothing here loads TVM before it is asked something that TVM alone knows.
"""
