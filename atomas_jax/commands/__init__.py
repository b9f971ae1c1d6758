"""What each subcommand does with its parsed arguments. Signatures are the command line: names, types, defaults,
help."""

import tyro

Unprefixed = tyro.conf.arg(name="")
"""Settings given by their own names, without the name of the argument that holds them."""
