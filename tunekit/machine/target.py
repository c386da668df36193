"""From what a recipe calls a target to a TVM target this host can really run.

TVM asks LLVM for the CPU's *model*, and LLVM answers by family and stepping: under a hypervisor
that masks AVX-512 it still says `znver4`, and the compiled code dies with an illegal
instruction. Here a CPU is only chosen, or accepted, when every instruction-set extension that
LLVM would use for it is among the features the kernel reports.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunekit.errors import TargetError
from tunekit.machine.host import Host, detect_host
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
# What LLVM also reads as the first word of a triple, besides the names it lists itself.
_TRIPLE_ALIASES: dict[str, str] = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    **dict.fromkeys(("i486", "i586", "i686"), "i386"),
    **dict.fromkeys(("armv6l", "armv7", "armv7a", "armv7l", "armv8", "armv8a", "armv8l"), "arm"),
    "ppc64": "powerpc64",
    "ppc64le": "powerpc64le",
}


@dataclass(frozen=True)
class ResolvedTarget:
    """A target that has been checked against the host it will run on.

    Attributes:
        spec: canonical JSON; equal targets have equal text, so it is what the catalogue keeps.
        kind: TVM's target kind, "llvm" or "cuda".
        cpu: LLVM's CPU name, or "" where the target names none.
        cores: threads that compiled code uses.
        vector_bits: width of one vector register in bits.
    """

    spec: str
    kind: str
    cpu: str
    cores: int
    vector_bits: int

    @cached_property
    def tvm(self) -> Target:
        """The `tvm.target.Target` itself."""
        require_tvm()
        from tvm.target import Target

        return Target(json.loads(self.spec))

    @property
    def f32_lanes(self) -> int:
        """Values of float32 in one vector register."""
        return max(self.vector_bits // 32, 4)

    @property
    def vector_registers(self) -> int:
        """How many there are: 32 with AVX-512 and NEON, 16 with AVX2 and before."""
        return 32 if self.vector_bits >= 512 or "neon" in self.spec else 16

    @property
    def architecture(self) -> str:
        """Architecture of the machine that runs it; this one's where the target names none."""
        return architecture_of(str(json.loads(self.spec).get("mtriple", "")))

    @property
    def device(self) -> str:
        """Name of the TVM device that runs code for this target: "cpu" or "cuda"."""
        return "cuda" if self.kind == "cuda" else "cpu"


def architecture_of(triple: str) -> str:
    """The architecture that LLVM's target triple names, in LLVM's word for it; this machine's where
    the triple is empty."""
    name = triple.partition("-")[0] or detect_host().architecture
    return _TRIPLE_ALIASES.get(name, name)


def resolve_target(
    spec: str | Mapping[str, Any],
    host: Host | None = None,
    *,
    measured_elsewhere: bool = False,
) -> ResolvedTarget:
    """Turns a recipe's target into one that `host` can run.

    Args:
        spec: "native", a TVM tag ("aws/cpu/c5.large"), a target kind ("llvm", "cuda"), the
            command-line form ("llvm -mcpu=znver3 -num-cores=4"), or a mapping or JSON text as
            TVM takes it.
        host: who will run the code; this machine if left out.
        measured_elsewhere: the code runs on another machine, so this one need not be able to.

    Raises:
        TargetError: not understood, or the host cannot run it; the message says what is missing.
    """
    require_tvm()
    host = host or detect_host()
    native = isinstance(spec, str) and spec.strip() == "native"
    config = _native(host) if native else _parse(spec)
    target = _tvm_target(config, spec)
    kind = str(target.kind.name)
    if kind == "cuda":
        if not measured_elsewhere:
            _require_cuda()
        return ResolvedTarget(target_spec(target), kind, "", cores=1, vector_bits=128)
    if kind != "llvm":
        raise TargetError(
            f"target kind '{kind}' is not one that tunekit can tune for",
            hint='use \'native\', a CPU as {"kind": "llvm", "mcpu": ...}, or \'cuda\'',
        )
    attributes = dict(target.attrs)
    if not attributes.get("num-cores"):
        target = _tvm_target({**json.loads(target_spec(target)), "num-cores": host.cores}, spec)
        attributes = dict(target.attrs)
    if int(attributes["num-cores"]) < 1:
        raise TargetError(
            f"target '{spec}' has num-cores {int(attributes['num-cores'])}",
            hint=f"leave it out to use all {host.cores} cores of this machine",
        )
    cpu = str(attributes.get("mcpu", ""))
    machine = _machine(target, host)
    _require_known_cpu(target, cpu, machine)
    features = _llvm_features(target)
    if not measured_elsewhere:
        _refuse_unrunnable(machine, features, host)
    return ResolvedTarget(
        spec=target_spec(target),
        kind=kind,
        cpu=cpu,
        cores=int(attributes["num-cores"]),
        vector_bits=_vector_bits(features),
    )


def native_cpu(host: Host) -> str:
    """LLVM's name of the best CPU whose instruction sets are all really there on `host`."""
    require_tvm()
    from tvm.target import codegen

    if host.architecture not in _X86_ARCHITECTURES:
        return str(codegen.llvm_get_system_cpu())
    candidates = (
        str(codegen.llvm_get_system_cpu()),
        *_X86_LADDER.get(host.vendor, ()),
        *_X86_GENERIC,
    )
    known = _llvm_cpus({"kind": "llvm"})
    for cpu in candidates:
        if cpu in known and not _missing(_cpu_features(cpu), host):
            return cpu
    return "x86-64"


def _native(host: Host) -> dict[str, Any]:
    return {"kind": "llvm", "mcpu": native_cpu(host), "num-cores": host.cores}


def _parse(spec: str | Mapping[str, Any]) -> dict[str, Any] | str:
    if not isinstance(spec, str):
        return dict(spec)
    text = spec.strip()
    if text.startswith("{"):
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            raise TargetError(
                f"target is not valid JSON: {error.msg} at column {error.colno}",
                hint='write it as {"kind": "llvm", "mcpu": "znver3", "num-cores": 4}',
            ) from error
        return dict(parsed)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TargetError(
            f"cannot read target '{spec}': {str(error).lower()}",
            hint="options look like -mcpu=znver3 -num-cores=4",
        ) from error
    if not words:
        raise TargetError(
            "target is empty", hint="leave it out, or write 'native' for this machine"
        )
    if len(words) == 1:
        return text
    # TVM dropped this form; people (and every older tutorial) still type it.
    config: dict[str, Any] = {"kind": words[0]}
    for word in words[1:]:
        key, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not equals or not value:
            raise TargetError(
                f"cannot read '{word}' in target '{spec}'",
                hint="options look like -mcpu=znver3 -num-cores=4",
            )
        if key in ("mattr", "libs", "keys"):
            config[key] = value.split(",")
        else:
            config[key] = int(value) if value.isdigit() else value
    return config


def _tvm_target(config: Mapping[str, Any] | str, spec: object) -> Target:
    from tvm.target import Target, list_tags

    try:
        return Target(config if isinstance(config, str) else dict(config))
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        near: list[str] = []
        if isinstance(config, str):
            names = ["native", "llvm", "cuda", *(str(tag) for tag in list_tags() or ())]
            near = difflib.get_close_matches(config, names, n=1)
        hint = (
            f"did you mean '{near[0]}'?"
            if near
            else 'use \'native\', a tag, \'cuda\', or {"kind": "llvm", "mcpu": ...}'
        )
        raise TargetError(
            f"target '{spec}' is not one that TVM knows: {reason}", hint=hint
        ) from error


def target_spec(target: Target) -> str:
    """The canonical JSON of TVM's target: equal targets have equal text."""
    exported = json.loads(str(target))
    # TVM adds these from the rest; leaving them out makes equal targets equal text.
    for derived in ("tag", "keys"):
        exported.pop(derived, None)
    return json.dumps(exported, sort_keys=True, separators=(",", ":"))


def _llvm_cpus(config: Mapping[str, Any]) -> set[str]:
    from tvm.target import Target, codegen

    return {str(cpu) for cpu in codegen.llvm_get_cpu_archlist(Target(dict(config)))}


def _llvm_features(target: Target) -> frozenset[str]:
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


def _cpu_features(cpu: str) -> frozenset[str]:
    from tvm.target import Target

    return _llvm_features(Target({"kind": "llvm", "mcpu": cpu}))


def _missing(features: frozenset[str], host: Host) -> list[str]:
    """Instruction sets among `features` that the host does not offer, by LLVM's names."""
    table = _X86_FEATURES if host.architecture in _X86_ARCHITECTURES else _ARM_FEATURES
    return sorted(
        name for name, kernel in table.items() if name in features and kernel not in host.features
    )


def _machine(target: Target, host: Host) -> str:
    """The architecture a target is for, as the host calls its own; the host's if it names none.

    Raises:
        TargetError: LLVM was built without it. TVM does not check: asked about such a target's
            CPUs or features, it dereferences a null pointer.
    """
    from tvm.target import codegen

    triple = str(dict(target.attrs).get("mtriple", ""))
    if not triple:
        return host.architecture
    name = triple.split("-", maxsplit=1)[0]
    machine = _TRIPLE_ALIASES.get(name, name)
    known = [str(known) for known in codegen.llvm_get_targets()]
    if machine not in known:
        near = difflib.get_close_matches(name, [*known, *_TRIPLE_ALIASES], n=1)
        raise TargetError(
            f"mtriple '{triple}' starts with '{name}', an architecture that LLVM does not know",
            hint=f"did you mean '{near[0]}'?"
            if near
            else "write it as x86_64-linux-gnu or aarch64-linux-gnu",
        )
    return machine


def _require_known_cpu(target: Target, cpu: str, machine: str) -> None:
    """LLVM takes an unknown CPU for a generic one, with no more than a line on standard error."""
    if not cpu:
        return
    triple = str(dict(target.attrs).get("mtriple", ""))
    known = _llvm_cpus({"kind": "llvm", "mtriple": triple} if triple else {"kind": "llvm"})
    if cpu not in known:
        near = difflib.get_close_matches(cpu, known, n=1)
        raise TargetError(
            f"mcpu '{cpu}' is not a CPU that LLVM knows for {machine}",
            hint=f"did you mean '{near[0]}'?" if near else "use 'native' for this machine",
        )


def _refuse_unrunnable(machine: str, features: frozenset[str], host: Host) -> None:
    host_machine = _TRIPLE_ALIASES.get(host.architecture.lower(), host.architecture)
    if machine not in (host_machine, host.architecture):
        raise TargetError(
            f"target is for {machine}, and this host is {host.architecture}",
            hint="measure on a device of that kind, or use target 'native'",
        )
    if missing := _missing(features, host):
        raise TargetError(
            f"target needs {', '.join(missing)}, which this CPU or its hypervisor does not offer",
            hint=f"use 'native' (here: {native_cpu(host)}), or measure on a machine that has "
            + ("it" if len(missing) == 1 else "them"),
        )


def _require_cuda() -> None:
    import tvm

    if not tvm.cuda(0).exist:
        raise TargetError(
            "target 'cuda' needs an NVIDIA GPU, and TVM finds none on this machine",
            hint="check `nvidia-smi`, or use target 'native' for the CPU",
        )


def _vector_bits(features: frozenset[str]) -> int:
    if "avx512f" in features:
        return 512
    if "avx" in features:
        return 256
    return 128
