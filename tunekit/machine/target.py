"""From what a recipe calls a target to a TVM target this host can really run.

A CPU is only accepted when every instruction-set extension that LLVM would use for it is among the
features that the kernel reports; see `cpu_features`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunekit.errors import TargetError
from tunekit.machine.cpu_features import (
    features_of,
    known_cpus,
    missing_features,
    native_cpu,
    vector_bits_of,
)
from tunekit.machine.host import Host, detect_host
from tunekit.machine.toolchain import require_tvm
from tunekit.wording import nearest

if TYPE_CHECKING:
    from tvm.target import Target

# What LLVM also reads as the first word of a triple, besides the names it lists itself.
_TRIPLE_ALIASES: dict[str, str] = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    **dict.fromkeys(("i486", "i586", "i686"), "i386"),
    **dict.fromkeys(("armv6l", "armv7", "armv7a", "armv7l", "armv8", "armv8a", "armv8l"), "arm"),
    "ppc64": "powerpc64",
    "ppc64le": "powerpc64le",
}


_DEVICES = "with --rpc-tracker HOST:PORT and --rpc-key KEY (`tunekit devices` lists what there is)"
_UNHEEDED = {
    "libs": "every operator is compiled, and none is left to a library",
    "device": "schedules are searched for, and not chosen by a kind of device",
    "model": "records are told apart by CPU and host",
}
"""Options of TVM's targets that tunekit does not follow, and why."""


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
        """How many there are: 32 with AVX-512 and on 64-bit ARM, 16 with AVX2 and before and on
        32-bit ARM, whose NEON has 16 of 128 bits."""
        return 32 if self.vector_bits >= 512 or self.architecture == "aarch64" else 16

    @property
    def architecture(self) -> str:
        """Architecture of the machine that runs it; this one's where the target names none."""
        return architecture_of(str(json.loads(self.spec).get("mtriple", "")))

    @property
    def device(self) -> str:
        """Name of the TVM device that runs code for this target: "cpu" or "cuda"."""
        return "cuda" if self.kind == "cuda" else "cpu"


def why_not_here(target: ResolvedTarget, host: Host | None = None) -> TargetError | None:
    """Why a machine, this one if left out, cannot run a target's code; None where it can."""
    try:
        resolve_target(target.spec, host)
    except TargetError as error:
        return error
    return None


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
        spec: "native" (also with options, "native -num-cores=4"), a TVM tag ("aws/cpu/c5.large"),
            a target kind ("llvm", "cuda"), the command-line form ("llvm -mcpu=znver3
            -num-cores=4"), or a mapping or JSON text as TVM takes it.
        host: who will run the code; this machine if left out.
        measured_elsewhere: the code runs on another machine, so this one need not be able to.

    Raises:
        TargetError: not understood, or the host cannot run it; the message says what is missing.
    """
    require_tvm()
    host = host or detect_host()
    config = _parse(spec)
    if config == "native":
        config = _native(host)
    elif isinstance(config, dict):
        _refuse_unheeded(config, spec)
        if config.get("kind") == "native":
            config = {**_native(host), **config, "kind": "llvm"}
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
    features = features_of(target)
    if not measured_elsewhere:
        _refuse_unrunnable(machine, features, host)
    return ResolvedTarget(
        spec=target_spec(target),
        kind=kind,
        cpu=cpu,
        cores=int(attributes["num-cores"]),
        vector_bits=vector_bits_of(features),
    )


def _native(host: Host) -> dict[str, Any]:
    return {"kind": "llvm", "mcpu": native_cpu(host), "num-cores": host.cores}


def _refuse_unheeded(config: Mapping[str, Any], spec: object) -> None:
    """Options that TVM takes and nothing here would follow."""
    for key, reason in _UNHEEDED.items():
        if config.get(key):
            raise TargetError(
                f"target '{spec}' has {key}, which has no effect: {reason}", hint="leave it out"
            )


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
        near = None
        if isinstance(config, str):
            names = ["native", "llvm", "cuda", *(str(tag) for tag in list_tags() or ())]
            near = nearest(config, names)
        hint = (
            f"did you mean '{near}'?"
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
        near = nearest(name, [*known, *_TRIPLE_ALIASES])
        raise TargetError(
            f"mtriple '{triple}' starts with '{name}', an architecture that LLVM does not know",
            hint=f"did you mean '{near}'?"
            if near
            else "write it as x86_64-linux-gnu or aarch64-linux-gnu",
        )
    return machine


def _require_known_cpu(target: Target, cpu: str, machine: str) -> None:
    """LLVM takes an unknown CPU for a generic one, with no more than a line on standard error."""
    if not cpu:
        return
    triple = str(dict(target.attrs).get("mtriple", ""))
    known = known_cpus({"kind": "llvm", "mtriple": triple} if triple else {"kind": "llvm"})
    if cpu not in known:
        near = nearest(cpu, known)
        raise TargetError(
            f"mcpu '{cpu}' is not a CPU that LLVM knows for {machine}",
            hint=f"did you mean '{near}'?" if near else "use 'native' for this machine",
        )


def _refuse_unrunnable(machine: str, features: frozenset[str], host: Host) -> None:
    host_machine = _TRIPLE_ALIASES.get(host.architecture.lower(), host.architecture)
    if machine not in (host_machine, host.architecture):
        raise TargetError(
            f"target is for {machine}, and this host is {host.architecture}",
            hint=f"measure on a device of that kind, {_DEVICES}; or use target 'native'",
        )
    if missing := missing_features(features, host):
        raise TargetError(
            f"target needs {', '.join(missing)}, which this CPU or its hypervisor does not offer",
            hint=f"use 'native' (here: {native_cpu(host)}), or measure on a machine that has "
            + ("it, " if len(missing) == 1 else "them, ")
            + f"{_DEVICES}; `tunekit compile` compiles for it without measuring",
        )


def _require_cuda() -> None:
    import tvm

    if not tvm.cuda(0).exist:
        raise TargetError(
            "target 'cuda' needs an NVIDIA GPU, and TVM finds none on this machine",
            hint="check `nvidia-smi`, or use target 'native' for the CPU",
        )
