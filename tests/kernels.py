"""When tests of the compiled kernels are left out: only where there is no GCC to build them."""

from __future__ import annotations

import shutil
import sys
import sysconfig

import pytest

from nasbench.spaces import compiled

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
needs_kernels = pytest.mark.skipif(
    not compiled.available() and (shutil.which(COMPILER) is None or sys.platform != "linux"),
    reason="no GCC, so no compiled kernels",
)
