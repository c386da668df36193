"""TVM's IR read and written: Relax bindings, TIR blocks, traces, modules on disk. No policy."""
