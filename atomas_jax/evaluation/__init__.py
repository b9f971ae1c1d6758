"""How good is it: captions, molecules and rankings by named protocols, the floors beside them, tables and a report.

`captions`, `molecules` and `ranking` each give a `results.Result`; `floors` gives answers that need no model;
`tables`, `results.save` and `report` show what was found. Nothing here knows JAX.
"""
