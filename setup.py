"""The compiled kernels; everything else about the package stands in pyproject.toml."""

import sys

from setuptools import Extension, setup

OPENMP = [] if sys.platform in ("win32", "darwin") else ["-fopenmp"]

setup(
    ext_modules=[
        # Not a Python module: nasbench/spaces/compiled.py loads it. Where it cannot be built, nothing else is missing.
        Extension(
            "nasbench.spaces.kernels._fans",
            sources=["nasbench/spaces/kernels/fans.c"],
            depends=[f"nasbench/spaces/kernels/{name}.h" for name in (
                "fan", "body", "lanes", "products", "depthwise", "matrices", "passes", "forward", "backward",
            )],
            extra_compile_args=[] if sys.platform == "win32" else ["-O2", "-ftree-vectorize", "-Wno-psabi", *OPENMP],
            extra_link_args=OPENMP,
            optional=True,
        ),
    ],
)  # fmt: skip
