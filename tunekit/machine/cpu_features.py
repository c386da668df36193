"""Which instruction sets LLVM uses for a CPU, and which are really there.

TVM asks LLVM for the CPU's *model*, and LLVM answers by family and stepping: under a hypervisor
that masks AVX-512 it still says `znver4`, and the compiled code dies with an illegal instruction.
Here the features that LLVM would use are compared with those that the kernel reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tunekit.machine.host import Host
from tunekit.machine.toolchain import require_tvm

if TYPE_CHECKING:
    from tvm.target import Target

# LLVM's name -> the kernel's name, for extensions that LLVM emits on its own from plain loops.
# Those used only through intrinsics or by an operating system (mwaitx, wbnoinvd, pku, ...) are
# left out on purpose: their absence never makes compiled tensor code fail.
_X86_FEATURES: dict[str, str] = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "cx16": "cx16",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "movbe": "movbe",
    "adx": "adx",
    "f16c": "f16c",
    "fma": "fma",
    "fma4": "fma4",
    "xop": "xop",
    "tbm": "tbm",
    "gfni": "gfni",
    "avx": "avx",
    "avx2": "avx2",
    "avxvnni": "avx_vnni",
    "avxvnniint8": "avx_vnni_int8",
    "avxvnniint16": "avx_vnni_int16",
    "avxifma": "avx_ifma",
    "avxneconvert": "avx_ne_convert",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512er": "avx512er",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx512vp2intersect": "avx512_vp2intersect",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
}
_ARM_FEATURES: dict[str, str] = {
    "neon": "asimd",
    "dotprod": "asimddp",
    "fullfp16": "asimdhp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_RISCV_FEATURES = ("v",)
# Tried from the first when LLVM's own answer needs something that is masked.
_X86_LADDER: dict[str, tuple[str, ...]] = {
    "AuthenticAMD": ("znver5", "znver4", "znver3", "znver2", "znver1"),
    "GenuineIntel": (
        "graniterapids",
        "sapphirerapids",
        "icelake-server",
        "cascadelake",
        "skylake-avx512",
        "skylake",
        "haswell",
    ),
}
_X86_GENERIC = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
_X86_ARCHITECTURES = ("x86_64", "amd64", "AMD64")
# A hypervisor gives its guests SVE only where it is told to.
_ARM64_LADDER = ("neoverse-n1", "cortex-a72", "generic")
_ARM64_ARCHITECTURES = ("aarch64", "arm64")


def native_cpu(host: Host) -> str:
    """LLVM's name of the best CPU whose instruction sets are all really there on `host`."""
    require_tvm()
    from tvm.target import codegen

    system_cpu = str(codegen.llvm_get_system_cpu())
    if host.architecture in _X86_ARCHITECTURES:
        config = {"kind": "llvm"}
        ladder = (*_X86_LADDER.get(host.vendor, ()), *_X86_GENERIC)
    elif host.architecture in _ARM64_ARCHITECTURES:
        config = {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}
        ladder = _ARM64_LADDER
    else:
        return system_cpu
    known = known_cpus(config)
    for cpu in (system_cpu, *ladder):
        if cpu in known and not missing_features(_cpu_features(config, cpu), host):
            return cpu
    return ladder[-1]


def known_cpus(config: Mapping[str, Any]) -> set[str]:
    """The CPUs that LLVM knows for a target."""
    from tvm.target import Target, codegen

    return {str(cpu) for cpu in codegen.llvm_get_cpu_archlist(Target(dict(config)))}


def features_of(target: Target) -> frozenset[str]:
    """Features of an LLVM target: those of its CPU, plus and minus its `mattr`."""
    from tvm.target import codegen

    features = {str(name) for name in codegen.llvm_get_cpu_features(target)}
    for attribute in dict(target.attrs).get("mattr", ()):
        name = str(attribute)
        if name.startswith("-"):
            features.discard(name[1:])
        else:
            features.add(name.lstrip("+"))
    return frozenset(features)


def _cpu_features(config: Mapping[str, str], cpu: str) -> frozenset[str]:
    from tvm.target import Target

    return features_of(Target({**config, "mcpu": cpu}))


def missing_features(features: frozenset[str], host: Host) -> list[str]:
    """Instruction sets among `features` that the host does not offer, by LLVM's names."""
    table = _X86_FEATURES if host.architecture in _X86_ARCHITECTURES else _ARM_FEATURES
    return sorted(
        name for name, kernel in table.items() if name in features and kernel not in host.features
    )


def instruction_sets(features: frozenset[str], architecture: str) -> list[str]:
    """Those among an LLVM target's features that a CPU of the architecture may lack, in order."""
    table: Iterable[str] = _X86_FEATURES if architecture in _X86_ARCHITECTURES else _ARM_FEATURES
    if architecture.startswith("riscv"):
        table = _RISCV_FEATURES
    return [name for name in table if name in features]


def vector_bits_of(features: frozenset[str]) -> int:
    """Width of one vector register in bits."""
    if "avx512f" in features:
        return 512
    if "avx" in features:
        return 256
    return 128
