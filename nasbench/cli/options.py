"""Options that several commands of ``nasbench`` share, and what the text given to them means."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from nasbench.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
seed = click.option("--seed", type=click.IntRange(min=0), default=0)


def pairs(option: str, name: str, text: str) -> Callable[[F], F]:
    """Return an option for ``FIELD=VALUE``, which may be repeated; see `settings_of`."""
    return click.option(option, name, multiple=True, metavar="FIELD=VALUE", help=text)


def settings(of: str) -> Callable[[F], F]:
    """Return ``--set FIELD=VALUE`` for the fields of what ``of`` says, for example ``"the dataset"``."""
    return pairs("--set", "settings", f"A field of {of}; may be repeated.")


def dataset(command: F) -> F:
    """Add what names the images of a search or training: ``--dataset``, ``--root``, ``--dataset-set``."""
    text = "A field of the dataset, for example image_size=32; may be repeated."
    fields = pairs("--dataset-set", "dataset_settings", text)
    root = click.option("--root", type=click.Path(path_type=Path), default=Path("data"))
    return click.option("--dataset", required=True)(root(fields(command)))


def shape(*, cells: int, channels: int) -> Callable[[F], F]:
    """Return ``--cells``, ``--channels`` and ``--stem`` of a network, the first two with these defaults."""
    number = click.option("--cells", type=click.IntRange(min=3), default=cells)
    width = click.option("--channels", type=click.IntRange(min=1), default=channels)
    stem = click.option(
        "--stem",
        type=click.Choice(["cifar", "imagenet"]),
        default="cifar",
        help="cifar keeps the resolution; imagenet divides it by 8 before the first cell.",
    )
    return lambda command: number(width(stem(command)))


def compute(command: F) -> F:
    """Add where to compute: ``--device`` and ``--threads``."""
    text = "CPU threads of one operation; results may differ between their numbers."
    threads = click.option("--threads", type=click.IntRange(min=1), default=1, help=text)
    return click.option("--device", default="cpu", is_eager=True)(threads(command))


def kernels(command: F) -> F:
    """Add ``--kernels``, which takes effect at once."""
    text = "compiled: supernets and cells on a CPU by the kernels built with the package, in about half the time."
    return click.option(
        "--kernels", type=click.Choice(["pytorch", "compiled"]), default="pytorch", expose_value=False,
        callback=_use_kernels, help=text,
    )(command)  # fmt: skip


def _use_kernels(context: click.Context, _parameter: click.Parameter, value: str) -> None:
    if value == "compiled" and context.params.get("device", "cpu").startswith("cuda"):
        raise click.BadParameter("compiled kernels are for a CPU; leave out either --kernels or --device.")
    if value == "compiled" or "nasbench.spaces.compiled" in sys.modules:  # PyTorch is imported for nothing else
        from nasbench.spaces import compiled

        compiled.use(value == "compiled")


def numbers(option: str, text: str) -> Callable[[F], F]:
    """Return an option that takes one number a channel: ``0.485,0.456,0.406``, or ``0.13`` for grey images."""
    return click.option(option, callback=_numbers, metavar="NUMBERS", default=None, help=text)


def refuse_typed(why: str, *names: str) -> None:
    """Refuse options of the present command that were typed though they have no effect.

    Args:
        why: Completes "--split has no effect ...".
        names: Parameters of the command.

    Raises:
        UsageError: One of them was typed.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and typed:
            raise click.UsageError(f"{parameter.opts[0]} has no effect {why}. Leave it out.")


def settings_of(given: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Return the fields that ``FIELD=VALUE`` pairs give; values are YAML.

    Args:
        given: What was typed, one for each time the option was given.
        option: Its name, for messages.

    Raises:
        ConfigError: A pair has no ``=`` or no field, a value is not YAML, or a field is given twice.

    Example:
        >>> settings_of(["epochs=10", "order=second"])
        {'epochs': 10, 'order': 'second'}
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    example = "--dataset-set image_size=32" if option == "--dataset-set" else "--set epochs=10"
    fields: dict[str, Any] = {}
    for pair in given:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise ConfigError(f"{option} {pair!r}: write FIELD=VALUE, for example {example}.")
        if key in fields:
            raise ConfigError(f"{option} {key}: is given twice. Give it once.")
        try:
            fields[key] = YAML(typ="safe", pure=True).load(value)
        except YAMLError as error:
            raise ConfigError(f"{option} {pair!r}: the value is not YAML. Write for example {example}.") from error
    return fields


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Turn an option's text into numbers; click ends with exit code 2 where something else is found."""
    del context, parameter  # click puts the option's name into the message itself
    if value is None:
        return None
    try:
        found = tuple(float(word) for word in value.split(","))
    except ValueError:
        found = ()
    if not found or not all(math.isfinite(number) for number in found):
        raise click.BadParameter(
            f"{value!r} is not allowed; write numbers with commas between them, one a channel, for example "
            f"0.485,0.456,0.406 or, for grey images, 0.13."
        )
    return found
