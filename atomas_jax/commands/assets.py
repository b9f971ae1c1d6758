"""`atomas assets`: files of other people that evaluation needs."""

from typing import Annotated

import tyro
from tyro.conf import Positional

from atomas_jax.errors import UserError


def assets(
    names: Positional[tuple[str, ...]] = (),
    source: Annotated[str, tyro.conf.arg(name="from", metavar="FILE")] = "",
) -> None:
    """List what there is and whether it is here, or fetch it by name from its official home.

    Kept in $XDG_DATA_HOME/atomas_jax (~/.local/share/atomas_jax), or in $ATOMAS_DATA. Contents are checked.

    Args:
      names: scibert, wordnet, t5 or all; nothing lists them.
      source: Take it from this file, archive, folder or address instead.
    """
    from atomas_jax import assets as known

    if not names:
        if source:
            raise UserError("--from needs the name of one asset before it")
        print(f"folder: {known.folder()}")
        for name, asset in known.ASSETS.items():
            print(f"{name:<9}{known.state(name):<9}{asset.about}; {asset.licence}")
            print(f"{'':<18}for {asset.needed_for}")
            print(f"{'':<18}{asset.homes[0]}")
        return
    chosen = list(known.ASSETS.values()) if names == ("all",) else [known.named(name) for name in names]
    if source and len(chosen) != 1:
        raise UserError(f"--from gives one asset, not {len(chosen)}")
    for asset in chosen:
        if not source and known.state(asset.name) == "ready":
            print(f"{asset.name}: already at {known.find(asset.name)}")
            continue
        print(f"{asset.name}: {known.take(asset, source) if source else known.fetch(asset)}")
