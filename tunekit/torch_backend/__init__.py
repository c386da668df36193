"""`torch.compile(model, backend="tunekit")`: graphs that dynamo finds become compiled libraries.

`backend` is what torch calls; `graph` is one of these graphs with its weights; `library` finds its
library in the cache or has it compiled, and runs it.
"""
