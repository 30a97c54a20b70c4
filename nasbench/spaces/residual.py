"""The residual block that halves the resolution between the stages of NAS-Bench-201 and of NATS-Bench."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nasbench.spaces.chain_builder import ChainBuilder, ChainPart
from nasbench.spaces.chain_forms import Shape
from nasbench.spaces.ops import KernelUnit


def _conv3x3(c_in: int, c_out: int, stride: int, affine: bool) -> KernelUnit:
    body = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=not affine)
    return KernelUnit(body, c_out, affine)


class ResidualBlock(ChainPart):
    """Two convolutions 3x3, the first of stride 2, beside an average pooling with a pointwise convolution.

    Formula: y = u_2(u_1(x)) + W P(x), with u_i = BN(conv_3x3(ReLU(.))), P the average over 2x2 pixels and W a
    pointwise convolution without bias and BN. No ReLU follows the sum.

    Reference: Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326, section 2.1 and figure 1, with the order of
    ReLU, convolution and BN of the published code.
    Differs from the paper: odd sizes are rounded up, and the average at the border is over the pixels there are; the
    published code fails on them. Even sizes: nothing known.

    Args:
        c_in: Input channels.
        c_out: Output channels.
        affine: Whether the BN has a learned scale and shift; without them the convolutions 3x3 have a bias, as in
            the published code (whose networks have affine BN here, the supernet too).

    Shape: [N, c_in, H, W] -> [N, c_out, ceil(H/2), ceil(W/2)].
    """

    def __init__(self, c_in: int, c_out: int, affine: bool = True) -> None:
        super().__init__()
        self.first = _conv3x3(c_in, c_out, 2, affine)
        self.second = _conv3x3(c_out, c_out, 1, affine)
        self.pool = nn.AvgPool2d(2, stride=2, ceil_mode=True)
        self.project = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c_in, H, W] to [N, c_out, ceil(H/2), ceil(W/2)]."""
        output: Tensor = self.second(self.first(x)) + self.project(self.pool(x))
        return output

    def is_known(self, *given: Any) -> bool:
        """See the base class."""
        pool, project = self.pool, self.project
        if type(pool) is not nn.AvgPool2d or type(project) is not nn.Conv2d or project.bias is not None:
            return False
        form = (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, project.kernel_size, project.stride)
        return form == (2, 2, 0, True, (1, 1), (1, 1)) and self.first.is_known() and self.second.is_known()

    def link(self, chain: ChainBuilder, source: int, *given: Any) -> int:
        """See the base class."""
        _, height, width = chain.states[source]
        shape = Shape(self.project.out_channels, (height + 1) // 2, (width + 1) // 2)
        middle, target = chain.state(shape), chain.state(shape)
        self.first.link(chain, source, middle)
        self.second.link(chain, middle, target)
        chain.convolution(source, target, self.project.weight, kernel=1, kind="projection")
        return target
