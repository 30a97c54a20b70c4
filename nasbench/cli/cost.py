"""``nasbench cost``: how large a cell's network is."""

from __future__ import annotations

import json

import click

from nasbench.cli import options
from nasbench.cli.parts import network_of
from nasbench.config.component import parse


@click.command()
@click.option("--genotype", required=True, help="A published name (DARTS_V2, ...) or a genotype file.")
@options.shape(cells=20, channels=36)
@click.option("--classes", type=click.IntRange(min=2), default=10)
@click.option("--image-size", type=click.IntRange(min=1), default=32)
@click.option("--in-channels", type=click.IntRange(min=1), default=3)
@options.as_json
def cost(
    genotype: str, cells: int, channels: int, classes: int, image_size: int, in_channels: int, stem: str, as_json: bool
) -> None:
    """Count parameters and multiply-adds (convolutions and linear layers, no auxiliary head); always prints JSON."""
    del as_json  # every command has --json; here it changes nothing
    import torch

    from nasbench.spaces.base import NetworkShape
    from nasbench.training.cost import measure

    fields = {"num_cells": cells, "channels": channels, "num_classes": classes, "in_channels": in_channels,
              "image_size": image_size, "stem": stem}  # fmt: skip
    with torch.device("meta"):
        network = network_of(genotype, parse(NetworkShape, fields))
    counted = measure(network, (in_channels, image_size, image_size))
    click.echo(json.dumps({"genotype": genotype, "params": counted.parameters, "macs": counted.macs, **fields}))
