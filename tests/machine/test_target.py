"""What a person may write as a target, and what this machine must refuse."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys

import pytest

from tunekit.errors import TargetError
from tunekit.machine.cpu_features import native_cpu
from tunekit.machine.host import Host, detect_host
from tunekit.machine.target import resolve_target

ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"]}
# All that a 2024 EPYC offers, under the kernel's names.
EVERYTHING = (
    *("pni", "ssse3", "sse4_1", "sse4_2", "sse4a", "popcnt", "cx16", "abm", "bmi1", "bmi2"),
    *("movbe", "adx", "f16c", "fma", "gfni", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw"),
    *("avx512cd", "avx512dq", "avx512vl", "avx512ifma", "avx512vbmi", "avx512_vbmi2"),
    *("avx512_vnni", "avx512_bitalg", "avx512_vpopcntdq", "avx512_bf16", "avx512_vp2intersect"),
)


def _host(*masked: str, vendor: str = "AuthenticAMD", cores: int = 2) -> Host:
    """An x86-64 host without the features that start with one of `masked`."""
    return dataclasses.replace(
        detect_host(),
        vendor=vendor,
        architecture="x86_64",
        cores=cores,
        features=frozenset(name for name in EVERYTHING if not name.startswith(masked)),
    )


@pytest.fixture
def no_avx512() -> Host:
    return _host("avx512")


def test_native_is_a_cpu_that_this_machine_can_run() -> None:
    host = detect_host()
    target = resolve_target("native")
    assert target.kind == "llvm"
    assert target.cores == host.cores
    assert target.device == "cpu"
    assert resolve_target({"kind": "llvm", "mcpu": target.cpu}).cpu == target.cpu
    # The kernel's own word for what decides the vector width.
    if host.architecture == "x86_64":
        width = 512 if "avx512f" in host.features else 256 if "avx" in host.features else 128
        assert target.vector_bits == width


@pytest.mark.parametrize(
    "written",
    ["native -num-cores=1", {"kind": "native", "num-cores": 1}, '{"kind":"native","num-cores":1}'],
)
def test_native_takes_options(written: str | dict[str, object]) -> None:
    native, target = resolve_target("native"), resolve_target(written)
    assert (target.cpu, target.cores) == (native.cpu, 1)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("llvm -mcpu=x86-64 -libs=mkl", "has libs, which has no effect: every operator"),
        ("native -device=arm_cpu", "has device, which has no effect"),
        ({"kind": "llvm", "model": "rasp4b"}, "has model, which has no effect"),
    ],
)
def test_options_without_effect_are_refused(written: str | dict[str, object], words: str) -> None:
    with pytest.raises(TargetError, match=words):
        resolve_target(written)


@pytest.mark.parametrize(
    ("vendor", "masked", "expected"),
    [
        ("AuthenticAMD", ("avx512",), "znver3"),
        ("GenuineIntel", ("avx512",), "skylake"),
        ("GenuineIntel", ("avx512", "adx"), "haswell"),
        ("SomeoneElse", ("avx512",), "x86-64-v3"),
        ("AuthenticAMD", ("avx512", "avx2"), "x86-64-v2"),
        ("AuthenticAMD", ("avx", "f16c", "fma"), "x86-64-v2"),
        ("AuthenticAMD", ("avx", "f16c", "fma", "sse4", "ssse3"), "x86-64"),
    ],
)
def test_native_leaves_out_what_the_hypervisor_masks(
    vendor: str, masked: tuple[str, ...], expected: str
) -> None:
    from tvm.target import codegen

    host = _host(*masked, vendor=vendor)
    with contextlib.suppress(TargetError):
        # The CPU that LLVM sees is the best answer wherever the masked features leave it usable.
        expected = resolve_target(f"llvm -mcpu={codegen.llvm_get_system_cpu()}", host).cpu
    assert native_cpu(host) == expected
    # Whatever it chooses, the same host accepts when it is written out.
    target = resolve_target("native", host)
    assert resolve_target(f"llvm -mcpu={target.cpu}", host) == target


def test_native_uses_the_cores_of_the_host() -> None:
    assert resolve_target("native", _host(cores=7)).cores == 7
    assert json.loads(resolve_target("native", _host(cores=7)).spec)["num-cores"] == 7


@pytest.mark.parametrize(
    "spec",
    [
        "llvm -mcpu=znver3 -num-cores=4",
        "  llvm   -num-cores=4 --mcpu=znver3 ",
        '{"kind": "llvm", "mcpu": "znver3", "num-cores": 4}',
        {"num-cores": 4, "mcpu": "znver3", "kind": "llvm"},
    ],
)
def test_the_same_target_has_the_same_text_however_it_is_written(
    spec: str | dict[str, object],
) -> None:
    target = resolve_target(spec, _host())
    assert target.spec == '{"kind":"llvm","mcpu":"znver3","num-cores":4}'
    assert (target.cpu, target.cores, target.vector_bits) == ("znver3", 4, 256)


@pytest.mark.parametrize(
    "spec",
    [
        "native",
        " native ",
        "llvm",
        "aws/cpu/c5.large",
        "cuda",
        "nvidia/nvidia-a100",
        "llvm -mcpu=znver3 -mattr=-avx512f,+fma",
        "raspberry-pi/4b-aarch64",
        ARM,
    ],
)
def test_the_canonical_text_resolves_to_itself(spec: str | dict[str, object]) -> None:
    target = resolve_target(spec, measured_elsewhere=True)
    again = resolve_target(target.spec, measured_elsewhere=True)
    assert again == target
    assert str(again.tvm) == str(target.tvm)
    assert str(target.tvm.kind.name) == target.kind


def test_tags_are_the_machines_they_name() -> None:
    target = resolve_target("aws/cpu/c5.large", _host())
    assert target.cpu == "skylake-avx512"
    assert target.vector_bits == 512
    assert target.cores == 1


@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        ("llvm -mcpu=x86-64-v4", 512),
        ("llvm -mcpu=x86-64-v3", 256),
        ("llvm -mcpu=x86-64-v2", 128),
        ("llvm -mattr=+avx2", 256),
        ("llvm -mcpu=skylake-avx512 -mattr=-avx512f", 256),
        ("llvm -mcpu=znver3 -mattr=-avx", 128),
    ],
)
def test_the_vector_width_follows_cpu_and_attributes(spec: str, bits: int) -> None:
    assert resolve_target(spec, _host()).vector_bits == bits


def test_a_cpu_with_masked_features_is_refused_with_their_names(no_avx512: Host) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target("llvm -mcpu=skylake-avx512", no_avx512)
    message = caught.value.message
    assert message.startswith("target needs avx512bw, avx512cd, avx512dq, avx512f, avx512vl, which")
    assert "this CPU or its hypervisor does not offer" in message
    assert caught.value.hint is not None
    assert "native" in caught.value.hint
    assert "znver3" in caught.value.hint


def test_a_masked_feature_is_refused_when_only_asked_for_by_name(no_avx512: Host) -> None:
    with pytest.raises(TargetError, match="needs avx512f, avx512vl, which"):
        resolve_target("llvm -mcpu=znver3 -mattr=+avx512vl", no_avx512)
    # and switching it off makes such a CPU usable
    off = "llvm -mcpu=skylake-avx512 -mattr=-avx512f"
    assert resolve_target(off, no_avx512).vector_bits == 256


def test_a_host_that_has_everything_accepts_it() -> None:
    assert resolve_target("llvm -mcpu=znver4", _host()).cpu == "znver4"


def test_what_is_measured_elsewhere_need_not_run_here(no_avx512: Host) -> None:
    target = resolve_target("llvm -mcpu=skylake-avx512", no_avx512, measured_elsewhere=True)
    assert (target.cpu, target.vector_bits) == ("skylake-avx512", 512)
    assert resolve_target(ARM, no_avx512, measured_elsewhere=True).vector_bits == 128


def test_another_architecture_is_refused() -> None:
    with pytest.raises(TargetError, match="for aarch64, and this host is x86_64"):
        resolve_target(ARM, _host())
    with pytest.raises(TargetError, match="for aarch64, and this host is x86_64"):
        resolve_target("llvm -mtriple=arm64-linux-gnu", _host())
    assert resolve_target("llvm -mtriple=amd64-linux-gnu", _host()).kind == "llvm"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_unknown_cpu_is_refused_with_the_nearest_name(elsewhere: bool) -> None:
    with pytest.raises(TargetError, match="'znvr3' is not a CPU that LLVM knows") as caught:
        resolve_target("llvm -mcpu=znvr3", measured_elsewhere=elsewhere)
    assert caught.value.hint == "did you mean 'znver3'?"


def test_an_unknown_architecture_is_refused_and_does_not_kill_the_process() -> None:
    """TVM dereferences a null pointer on one, so a process of its own does the asking."""
    program = (
        "from tunekit.errors import TargetError\n"
        "from tunekit.machine.target import resolve_target\n"
        "target = {'kind': 'llvm', 'mtriple': 'aarh64-linux'}\n"
        "try: resolve_target(target, measured_elsewhere=True)\n"
        "except TargetError as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'aarh64', an architecture that LLVM does not know" in done.stdout
    assert "did you mean 'aarch64'?" in done.stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("nativ", "native"),
        ("lllvm", "llvm"),
        ("cude", "cuda"),
        ("aws/cpu/c5.larg", "aws/cpu/c5.large"),
    ],
)
def test_a_misspelt_target_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target(typed)
    assert caught.value.hint == f"did you mean '{meant}'?"


def test_cuda_is_refused_where_there_is_no_gpu() -> None:
    import tvm

    if tvm.cuda(0).exist:
        target = resolve_target("cuda")
        assert (target.kind, target.device) == ("cuda", "cuda")
        return
    with pytest.raises(TargetError, match="'cuda' needs an NVIDIA GPU"):
        resolve_target("cuda")
    assert resolve_target("cuda", measured_elsewhere=True).kind == "cuda"


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "   ",
        "{",
        "{}",
        "[]",
        "[1, 2]",
        "null",
        "{'kind': 'llvm'}",
        '{"kind": "llvm"} trailing',
        '{"kind": 3}',
        '{"kind": "llvm", "mcpu": 5}',
        '{"kind": "llvm", "mcpu": null}',
        '{"kind": "llvm", "mattr": "avx"}',
        '{"kind": "llvm", "num-cores": "many"}',
        '{"kind": "llvm", "num-cores": 2.5}',
        '{"kind": "llvm", "num-cores": -1}',
        '{"kind": "llvm", "unheard-of": 1}',
        "llvm mcpu",
        "llvm -mcpu",
        "llvm -mcpu=",
        "llvm -mcpu='znver3",
        "llvm -mcpu=native",
        "llvm -num-cores=-4",
        "llvm -num-cores=99999999999999999999999",
        "-mcpu=znver3 llvm",
        "opencl",
        "c",
        "\x00",
        "ünï",
        {},
        {1: 2},
        {"kind": object()},
        {"kind": "llvm", "mcpu": ["znver3"]},
    ],
)
def test_garbage_is_an_error_with_a_hint_never_a_traceback(spec: str | dict[str, object]) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target(spec)
    assert caught.value.message
    assert caught.value.hint
    assert "Traceback" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("fp asimd aes atomics fphp asimdhp asimddp", "neoverse-n1"),
        ("fp asimd aes crc32", "cortex-a72"),
        ("", "generic"),
    ],
)
def test_native_on_arm_leaves_out_what_the_hypervisor_masks(features: str, expected: str) -> None:
    host = dataclasses.replace(
        detect_host(), architecture="aarch64", features=frozenset(features.split())
    )
    assert native_cpu(host) == expected


@pytest.mark.parametrize(
    ("target", "registers"),
    [
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72", 32),
        ({"kind": "llvm", "mtriple": "armv7l-linux-gnueabihf", "mattr": ["+neon"]}, 16),
        ("llvm -mcpu=haswell", 16),
        ("llvm -mcpu=skylake-avx512", 32),
    ],
)
def test_tiles_are_for_the_registers_that_a_cpu_has(target: object, registers: int) -> None:
    resolved = resolve_target(target, _host(), measured_elsewhere=True)  # type: ignore[arg-type]
    assert resolved.vector_registers == registers
