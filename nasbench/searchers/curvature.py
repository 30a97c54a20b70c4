"""How sharply a loss bends at the present architecture: the dominant eigenvalue of its Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from nasbench.core.errors import TrainingError
from nasbench.core.seeding import generator

EXACT = 24
"""Up to this many numbers the Hessian is written out; beyond, Lanczos needs fewer products than it has columns."""

_TOLERANCE = 1e-4  # of the residual, relative; the error of the eigenvalue is about its square
_BASIS = 12  # Lanczos vectors; that many products make the first guess


def largest_eigenvalue(loss: Callable[[], Tensor], tensors: Sequence[Tensor], seed: int) -> float:
    """Return the algebraically largest eigenvalue of the Hessian of a loss with respect to all tensors together.

    The loss is computed once, with a graph; every product of the Hessian with a vector is one more backward pass
    through that graph (Pearlmutter 1994). Up to `EXACT` numbers the products with the unit vectors are the Hessian;
    else the eigenvalue is found by the implicitly restarted Lanczos method (ARPACK) from a start vector drawn from
    the seed.

    Args:
        loss: Computes a scalar anew; called once.
        tensors: Leaves that require a gradient; those that the loss does not depend on count with zeros.
        seed: Of the start vector. Another seed gives the same eigenvalue up to a relative 1e-5 or so.

    Raises:
        TrainingError: The gradient or the curvature is not finite.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> largest_eigenvalue(lambda: (x**3).sum() - x.prod(), [x], seed=0)  # Hessian [[6, -1], [-1, 12]]
        12.162277...
    """
    hessian = _Hessian(loss(), tensors)
    if hessian.size <= EXACT:
        return float(np.linalg.eigvalsh(hessian.dense())[-1])
    rng = generator(seed, "lanczos")
    start = rng.standard_normal(hessian.size)
    if not hessian.times(start).any():
        return 0.0  # flat: Lanczos cannot begin
    operator = LinearOperator((hessian.size, hessian.size), matvec=hessian.times, dtype=np.float64)
    try:
        values = eigsh(
            operator, k=1, which="LA", v0=start, ncv=_BASIS, tol=_TOLERANCE, return_eigenvectors=False, rng=rng
        )  # fmt: skip
    except ArpackError:  # not converged, or a subspace that ended early: slower, but it always works
        return float(np.linalg.eigvalsh(hessian.dense())[-1])
    return float(values[0])


class _Hessian:
    """A symmetric matrix that is known by its products.

    Args:
        loss: Scalar with a graph.
        tensors: What it is derived for, twice.
    """

    def __init__(self, loss: Tensor, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        parts = torch.autograd.grad(loss, self.tensors, create_graph=True, materialize_grads=True)
        self.gradient = torch.cat([part.reshape(-1) for part in parts])
        self.size = self.gradient.numel()
        if not bool(self.gradient.isfinite().all()):
            raise TrainingError(
                f"the loss ({float(loss.detach())}) whose curvature is wanted has a gradient that is not finite. "
                f"Lower learning_rate or set gradient_clip."
            )

    def times(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the product with a vector [n]."""
        if not self.gradient.requires_grad:  # the loss is linear
            return np.zeros(self.size)
        along = torch.from_numpy(np.asarray(vector).reshape(-1)).to(self.gradient)
        parts = torch.autograd.grad(
            self.gradient, self.tensors, grad_outputs=along, retain_graph=True, materialize_grads=True
        )
        product = torch.cat([part.reshape(-1) for part in parts]).double().cpu().numpy()
        if not np.isfinite(product).all():
            raise TrainingError("the curvature of the loss is not finite. Lower learning_rate or set gradient_clip.")
        found: npt.NDArray[np.float64] = product
        return found

    def dense(self) -> npt.NDArray[np.float64]:
        """Return the matrix [n, n], made symmetric to the last bit."""
        columns = np.stack([self.times(unit) for unit in np.eye(self.size)])
        matrix: npt.NDArray[np.float64] = (columns + columns.T) / 2
        return matrix
