"""Attribution: where a library's time goes, what that is of the machine's best, and of others'.

Nothing is imported here: a process that loads its profiler must not load the compiler with it.
"""
