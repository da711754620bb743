"""Which instructions the compiled kernels use: those of this processor, or fewer if asked.

``NGAT_SIMD=avx2`` keeps kernels to AVX2 on a processor that has AVX-512, as most do not: so the
narrow kernels can be tested and measured on the wide machine. It is read once, and must be set
before the first kernel is compiled.
"""

from __future__ import annotations

import os

from ngat.errors import InputError, MissingDependency

try:
    import llvmlite.binding as llvm
    from numba.core import config
except ImportError as error:
    raise MissingDependency(
        f"The cpu engine needs numba, which cannot be loaded here ({error}): pip install numba. "
        "The engine 'reference' does the same without it, only slower."
    ) from error

ASKED = os.environ.get("NGAT_SIMD", "")
if ASKED not in ("", "avx2"):
    raise InputError(f"NGAT_SIMD={ASKED}: leave it unset, or set it to avx2.")

_HOST = llvm.get_host_cpu_features()
NARROW = ASKED == "avx2" and bool(_HOST.get("avx512f"))
if NARROW:
    config.CPU_NAME, config.CPU_FEATURES = "haswell", "+avx2,+fma"

AVX512 = bool(_HOST.get("avx512f")) and not NARROW
SIMD = 16 if AVX512 else 8  # numbers of a vector; two registers each for float64
REGISTERS = 32 if AVX512 or llvm.get_default_triple().startswith("aarch64") else 16


def instruction_set() -> str:
    """AVX-512, AVX2, or what the processor has instead."""
    if AVX512:
        return "AVX-512"
    if _HOST.get("avx2"):
        return "AVX2" + (" of an AVX-512 processor" if NARROW else "")
    return llvm.get_default_triple().partition("-")[0]
