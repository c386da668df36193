"""TVM's RPC protocol: its tracker without TVM, and a device's server that survives what it runs."""
