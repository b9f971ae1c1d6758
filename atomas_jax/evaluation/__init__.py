"""How good is it: captions, molecules and rankings by named protocols, the floors beside them, tables and a report.

`captions`, `molecules` and `ranking` each give a `results.Result`; `floors` gives answers that need no model;
`measuring` puts them into one table, `slices` cuts it, `outputs` and `report` leave it in a folder; `answers` does all
of that for a file of predictions, `ranking_files` for a file of embeddings. `comparison` sets two results side by side,
`leakage` two files of data. Nothing here knows JAX.
"""
