"""When tests of the compiled kernels are left out: only where there is no compiler to build them."""

from __future__ import annotations

import shutil
import sysconfig

import pytest

from nasbench.spaces import compiled

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
needs_kernels = pytest.mark.skipif(
    not compiled.available() and shutil.which(COMPILER) is None, reason="no C compiler, so no compiled kernels"
)
