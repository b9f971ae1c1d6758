"""atomas_jax: molecules and language in one space, in JAX.

    import atomas_jax

    model = atomas_jax.load("runs/quickstart")
    model.caption(["CC(=O)Oc1ccccc1C(=O)O"])

Importing the package imports neither jax nor rdkit nor datasets; what is used brings what it needs.
"""

__version__ = "0.1.0"
__all__ = ["Experiment", "TrainedModel", "UserError", "load"]

_HOMES = {
    "Experiment": "atomas_jax.config",
    "TrainedModel": "atomas_jax.trained",
    "UserError": "atomas_jax.errors",
    "load": "atomas_jax.trained",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'atomas_jax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])
