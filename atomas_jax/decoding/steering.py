"""What a chemist asks of the molecules written, as words: read from the command line, or given in Python."""

from collections.abc import Callable
from dataclasses import dataclass

from atomas_jax.errors import UserError


@dataclass(frozen=True)
class Steering:
    """Conditions on the molecules written for every text.

    The prefix is written first, inside the compiled loop. Everything else is met by sampling and filtering: answers
    that do not meet it are replaced by further candidates, then by samples, until the budget is spent.

        model.generate(["An analgesic."], steering=Steering(require_smarts=("C(=O)[OH]",), weight="150:250"))
        model.generate(["A phenol."], steering=Steering(prefix="Oc1ccc", budget=1000), method="sample", results=5)
    """

    require_smarts: tuple[str, ...] = ()
    """Substructures (SMARTS) that every molecule contains, all of them."""
    forbid_smarts: tuple[str, ...] = ()
    """Substructures (SMARTS) that no molecule contains, none of them."""
    formula: str = ""
    """The molecular formula, hydrogens counted and charges left out, as C9H8O4."""
    weight: str = ""
    """Average molecular weight in g/mol as 200:500; either end may be left out."""
    keep: tuple[str, ...] = ()
    """Fragments (SMILES) that stay in the molecule, substituted anywhere. They are not forced to the front: what is
    written first goes on from its last atom alone. Where that is what you want, give the fragment as the prefix."""
    prefix: str = ""
    """SMILES characters that every string begins with: a scaffold, open branches and rings allowed, as c1ccc(."""
    budget: int = 168
    """The most strings tried for one text, its first candidates counted."""

    def __post_init__(self):
        for name in ("require_smarts", "forbid_smarts", "keep"):
            if isinstance(getattr(self, name), str):
                raise UserError(f"steering {name} is one string: write it as ({getattr(self, name)!r},)")
        if self.budget < 1:
            raise UserError(f"budget is {self.budget}: want 1 or more strings for each text")

    @property
    def filters(self) -> bool:
        """Whether anything is asked beside the prefix."""
        return bool(self.require_smarts or self.forbid_smarts or self.formula or self.weight or self.keep)

    def check(self) -> Callable[[str], bool] | None:
        """Whether a SMILES meets all but the prefix; None where nothing is asked.

        Raises UserError on a SMARTS, fragment, formula, range or prefix that cannot be read, and without RDKit.
        """
        try:
            from atomas_jax.chemistry.filters import begins_smiles, molecule_filter
        except ModuleNotFoundError as missing:
            if not self.filters:
                return None
            raise UserError(f"conditions on molecules need {missing.name}, which is not installed") from None
        if self.prefix and not begins_smiles(self.prefix):
            raise UserError(f"the prefix {self.prefix!r} is no beginning of a SMILES")
        if not self.filters:
            return None
        asked = molecule_filter(self.require_smarts, self.forbid_smarts, self.formula, self.weight, self.keep)
        return asked.accepts
