"""Simulated processors: environment variables that limit every numeric library to an older instruction set.

The libraries select their code paths by CPU features when they are loaded, so each processor is simulated in a separate
process::

    python tests/helpers/processors.py                 # processors that this machine can simulate
    python tests/helpers/processors.py --older         # processors that ``make test-processors`` tests
    python tests/helpers/processors.py NAME            # the code path that each library takes
    python tests/helpers/processors.py NAME COMMAND    # run a command on that processor

Two libraries have no switch: XNNPACK, with which LiteRT runs the facial landmarker, and dlib. FFmpeg's libraries inside
PyAV have one, but not in the environment: see :func:`limit_libav`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

#: Environment variable with the name of the simulated processor.
NAME = "DEEPFAKEMNIST_TEST_PROCESSOR"


@dataclass(frozen=True)
class Processor:
    """An x86-64 processor.

    Attributes:
        needs: flags of /proc/cpuinfo that its code requires.
        aten: highest code path of PyTorch's own kernels.
        onednn, mkl: highest instruction sets of the libraries inside PyTorch; empty: no limit. oneMKL obeys on
            processors by Intel only.
        openblas: core type of the OpenBLAS inside NumPy and SciPy.
        llvm: processor and features that Numba compiles for. It keys its cache by both.
        libav: AV_CPU_FLAG_* bits that FFmpeg's libraries may use.
        hides: features hidden from NumPy, OpenCV and glibc, keys of _FEATURES.
    """

    needs: tuple[str, ...]
    aten: str
    onednn: str
    mkl: str
    openblas: str
    llvm: tuple[str, str]
    libav: int
    hides: tuple[str, ...] = ()

    def variables(self, flags: frozenset[str]) -> dict[str, str]:
        """Return the variables that simulate it on a machine with ``flags``; empty ones must stay unset."""
        # Only features the machine has: OpenCV and NumPy reject a request to disable an absent one.
        hidden = [feature for name in self.hides for feature in _FEATURES[name] if feature.flag in flags]
        glibc = ",".join(f"-{feature.glibc}" for feature in hidden if feature.glibc)
        no_avx = "avx" in self.hides
        return {
            "ATEN_CPU_CAPABILITY": self.aten,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            # The code path that oneMKL takes on processors of every vendor, without fused multiply-add.
            "MKL_CBWR": "COMPATIBLE" if no_avx else "",
            "OPENBLAS_CORETYPE": self.openblas,
            "NUMBA_CPU_NAME": self.llvm[0],
            "NUMBA_CPU_FEATURES": self.llvm[1],
            "NPY_DISABLE_CPU_FEATURES": ",".join(feature.numpy for feature in hidden if feature.numpy),
            "OPENCV_CPU_DISABLE": ",".join(feature.opencv for feature in hidden if feature.opencv),
            "OPENCV_IPP": "sse42" if no_avx else "avx2" if "avx512" in self.hides else "",
            # Fused multiply-add changes the last bit of libm's sin, exp, pow and others, which Python and NumPy call.
            "GLIBC_TUNABLES": f"glibc.cpu.hwcaps={glibc}" if glibc else "",
        }


@dataclass(frozen=True)
class _Feature:
    """A flag of /proc/cpuinfo and its names in NumPy, OpenCV and glibc; empty: the library does not use it."""

    flag: str
    numpy: str = ""
    opencv: str = ""
    glibc: str = ""


_FEATURES = {
    "avx512_fp16": (_Feature("avx512_fp16", numpy="AVX512_SPR"),),
    "avx512_vbmi2": (_Feature("avx512_vbmi2", numpy="AVX512_ICL"),),
    "avx512": (_Feature("avx512bw", numpy="X86_V4", opencv="AVX512-SKX"), _Feature("avx512f", glibc="AVX512F")),
    "avx": (
        _Feature("avx2", numpy="X86_V3", opencv="AVX2", glibc="AVX2"),
        _Feature("fma", glibc="FMA"),
        _Feature("fma4", glibc="FMA4"),
        _Feature("f16c", opencv="FP16"),
        _Feature("avx", opencv="AVX", glibc="AVX"),
        _Feature("sse4_2", opencv="SSE4.2"),
        _Feature("sse4_1", opencv="SSE4.1"),
    ),
}
_AVX2 = ("avx2", "fma", "f16c", "bmi2")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_LLVM_AVX512 = "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
#: libavutil/cpu.h: up to SSE4.2; with AVX, FMA3, AVX2 and BMI; with AVX-512; with Ice Lake's.
_LIBAV_SSE, _LIBAV_AVX2, _LIBAV_AVX512 = 0x0000_13DB, 0x0007_D3DB, 0x0017_D3DB
_LIBAV_ALL = 0x0037_D3DB

#: Oldest first. NumPy 2.4 needs SSE4.2, so nothing older can run.
PROCESSORS = {
    "sse": Processor(
        needs=("sse4_2", "ssse3", "popcnt"),
        aten="default",
        onednn="SSE41",
        mkl="SSE4_2",
        openblas="Nehalem",
        llvm=("nehalem", "+sse4.2"),
        libav=_LIBAV_SSE,
        hides=("avx512_fp16", "avx512_vbmi2", "avx512", "avx"),
    ),
    "avx2": Processor(
        needs=_AVX2,
        aten="avx2",
        onednn="AVX2",
        mkl="AVX2",
        openblas="Haswell",
        llvm=("haswell", "+avx2,+fma"),
        libav=_LIBAV_AVX2,
        hides=("avx512_fp16", "avx512_vbmi2", "avx512"),
    ),
    "avx512": Processor(
        needs=_AVX512,
        aten="avx512",
        onednn="AVX512_CORE",
        mkl="AVX512",
        openblas="SkylakeX",
        llvm=("skylake-avx512", _LLVM_AVX512),
        libav=_LIBAV_AVX512,
        hides=("avx512_fp16", "avx512_vbmi2"),
    ),
    "avx512_bf16": Processor(
        needs=(*_AVX512, "avx512_vnni", "avx512_bf16"),
        aten="avx512",
        onednn="AVX512_CORE_BF16",
        mkl="",
        openblas="Cooperlake",
        llvm=("cooperlake", f"{_LLVM_AVX512},+avx512bf16"),
        libav=_LIBAV_AVX512,
        hides=("avx512_fp16", "avx512_vbmi2"),
    ),
    "avx512_fp16": Processor(
        needs=(*_AVX512, "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        aten="avx512",
        onednn="AVX512_CORE_FP16",
        mkl="",
        openblas="SapphireRapids",
        llvm=("sapphirerapids", f"{_LLVM_AVX512},+avx512bf16,+avx512fp16"),
        libav=_LIBAV_ALL,
    ),
    "amx": Processor(
        needs=(*_AVX512, "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
        aten="avx512",
        onednn="AVX512_CORE_AMX",
        mkl="",
        openblas="SapphireRapids",
        llvm=("sapphirerapids", f"{_LLVM_AVX512},+avx512bf16,+avx512fp16"),
        libav=_LIBAV_ALL,
    ),
}


def cpu_flags() -> frozenset[str]:
    """Return the CPU flags of this machine; empty unless it is x86-64 on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        return frozenset()
    lines = cpuinfo.read_text().splitlines()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def runnable() -> list[str]:
    """Return the processors that this machine can simulate, oldest first; empty unless it is x86-64."""
    flags = cpu_flags()
    return [name for name, processor in PROCESSORS.items() if flags.issuperset(processor.needs)]


def older() -> list[str]:
    """Return the runnable processors except the newest, which is this machine without limits.

    At most the four newest of them, to save time: on a machine with AMX, the processor without AVX is left out.
    """
    return runnable()[:-1][-4:]


def environment(name: str = "native") -> dict[str, str]:
    """Return the environment of a process on a simulated processor; ``native`` is this machine without limits.

    Raises: KeyError for an unknown name.
    """
    flags = cpu_flags()
    ours = {variable for processor in PROCESSORS.values() for variable in processor.variables(flags)}
    inherited = {variable: value for variable, value in os.environ.items() if variable not in {NAME, *ours}}
    if name == "native":
        return inherited
    limits = {variable: value for variable, value in PROCESSORS[name].variables(flags).items() if value}
    return {**inherited, **limits, NAME: name}


def limit_libav() -> int:
    """Limit the FFmpeg libraries inside PyAV, in this process, to the simulated processor.

    Returns: the AV_CPU_FLAG_* bits in use.
    """
    import av

    bundled = sorted((Path(av.__file__).parents[1] / "av.libs").glob("libavutil*.so*"))
    if not bundled:
        raise RuntimeError("this PyAV is not from a wheel: av.libs contains no libavutil")
    libavutil = ctypes.CDLL(str(bundled[0]))  # the instance loaded by PyAV
    name = os.environ.get(NAME)
    if name:
        libavutil.av_force_cpu_flags(libavutil.av_get_cpu_flags() & PROCESSORS[name].libav)
    return int(libavutil.av_get_cpu_flags())


def report() -> dict[str, str]:
    """Return the code path that each library reports in this process."""
    import cv2
    import scipy.linalg  # noqa: F401  loads its OpenBLAS
    import torch
    from numba.core.registry import cpu_target
    from numpy._core import _multiarray_umath
    from threadpoolctl import threadpool_info

    features = _multiarray_umath.__cpu_features__
    _, cpu, enabled = cpu_target.target_context.codegen().magic_tuple()
    blas = {info["architecture"] for info in threadpool_info() if info["internal_api"] == "openblas"}
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "numpy": " ".join(name for name in _multiarray_umath.__cpu_dispatch__ if features[name]) or "baseline",
        "openblas": " ".join(sorted(blas)),
        "opencv": " ".join(name for name in cv2.getCPUFeaturesLine().split() if not name.endswith("?")),
        "ipp": cv2.ipp.getIppVersion().strip() if hasattr(cv2, "ipp") else "none",
        "numba": f"{cpu} {' '.join(part for part in enabled.split(',') if part.startswith('+avx') or part == '+fma')}",
        "libav": f"{limit_libav():#x}",
    }


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print("\n".join(["native", *runnable()]))
    elif sys.argv[1:] == ["--older"]:
        print("\n".join(older()))
    else:
        command = sys.argv[2:] or [
            sys.executable,
            "-c",
            "import processors\nfor item in processors.report().items(): print(*item)",
        ]
        simulated = environment(sys.argv[1])
        helpers = str(Path(__file__).parent)
        simulated["PYTHONPATH"] = os.pathsep.join(filter(None, [helpers, simulated.get("PYTHONPATH")]))
        os.execvpe(command[0], command, simulated)
