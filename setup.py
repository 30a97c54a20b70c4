"""The compiled kernels; everything else about the package stands in pyproject.toml."""

import sys
import zlib
from pathlib import Path

from setuptools import Extension, setup

KERNELS = Path("nasbench/spaces/kernels")
SOURCES = sorted(found.as_posix() for found in KERNELS.iterdir() if found.suffix in {".c", ".h"})
OPENMP = [] if sys.platform in {"win32", "darwin"} else ["-fopenmp"]

setup(
    ext_modules=[
        # Not a Python module: nasbench/spaces/kernel_library.py loads it. Where it cannot be built, nothing else is
        # missing.
        Extension(
            "nasbench.spaces.kernels._fans",
            sources=[(KERNELS / "fans.c").as_posix()],
            depends=SOURCES,
            define_macros=[("SOURCES", str(zlib.crc32(b"".join(Path(name).read_bytes() for name in SOURCES))))],
            extra_compile_args=[] if sys.platform == "win32" else ["-O2", "-ftree-vectorize", "-Wno-psabi", *OPENMP],
            extra_link_args=OPENMP,
            optional=True,
        ),
    ],
)
