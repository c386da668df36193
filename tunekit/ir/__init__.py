"""TVM's IR read and written: Relax bindings, traces, modules on disk. No policy."""
