"""Rankings: pools by name, batches, extra positives, and anybody's embeddings, scores or ranks."""

from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax import cli
from atomas_jax.config import EvaluationConfig
from atomas_jax.corpus import readers
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation import results
from atomas_jax.evaluation.molecule_keys import molecule_keys, read_distractors
from atomas_jax.evaluation.ranking import Pairs, both_directions, both_directions_of_scores, chance, rank_embeddings
from atomas_jax.evaluation.ranking_files import evaluate_rankings
from atomas_jax.evaluation.ranking_protocols import POSITIVES, RANKINGS

THERE, BACK = "text to molecule", "molecule to text"


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_settings_offer_every_ranking_there_is():
    hints = get_type_hints(EvaluationConfig)
    assert hints["ranking"].__args__ == tuple(RANKINGS) and hints["positives"].__args__ == tuple(POSITIVES)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 70), st.integers(0, 5))
def test_scores_rank_as_the_embeddings_they_are_of(count, seed):
    texts, molecules = vectors(count, 5, seed=seed), vectors(count + 3, 5, seed=seed + 9)
    unit = [table / np.linalg.norm(table, axis=1, keepdims=True) for table in (texts, molecules)]
    for protocol in ("split", "pcdes-batch64"):
        by_vectors, found = both_directions(texts, molecules[:count], protocol=protocol)
        by_scores, same = both_directions_of_scores(unit[0] @ unit[1][:count].T, protocol=protocol)
        for direction in (THERE, BACK):
            assert by_vectors[direction].scores == by_scores[direction].scores
            assert (found[direction].top[:, 0] == same[direction].top[:, 0]).all()
    far = both_directions(texts, molecules, Pairs(count), "text2mol33k")[0]
    assert far[THERE].stamp.settings["pool"] == f"text2mol33k, {count + 3} candidates"
    assert far[BACK].stamp.settings["pool"] == f"text2mol33k (the queries' own), {count} candidates"
    assert far[BACK]["MRR"] == by_vectors_split(texts, molecules[:count])[BACK]["MRR"]
    assert far[THERE]["Mean rank"] >= by_vectors_split(texts, molecules[:count])[THERE]["Mean rank"]


def by_vectors_split(texts, molecules):
    return both_directions(texts, molecules)[0]


def test_batches_are_rankings_of_their_own():
    texts, molecules = vectors(150, 4), vectors(150, 4, seed=1)
    found, ranked = both_directions(texts, molecules, protocol="in-batch64")
    for rows in (slice(0, 64), slice(64, 128), slice(128, 150)):
        alone = rank_embeddings(texts[rows], molecules[rows])
        assert (ranked[THERE].ranks[rows] == alone.ranks).all()
        assert (ranked[THERE].top[rows] - rows.start == alone.top).all()
    result = found[THERE]
    assert result.stamp.settings["pool"] == "in-batch 64, 64 candidates"
    flat, _ = both_directions(np.ones((150, 2)), np.ones((150, 2)), protocol="in-batch64")
    floor = chance(150, 150, flat[THERE], 64)
    assert (
        flat[THERE]["Mean rank"] == pytest.approx(floor["Mean rank"]) == pytest.approx((128 * 32.5 + 22 * 11.5) / 150)
    )
    assert floor["R@1"] == pytest.approx(3 / 150)
    assert both_directions(vectors(130, 3), vectors(130, 3), protocol="in-batch64")[1][THERE].top.shape == (130, 10)


def test_duplicates_and_stereo_twins_count_on_request():
    smiles = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)[C@@H](N)C", "CCO"]
    assert len(set(molecule_keys(smiles, "molecule"))) == 3
    twins = molecule_keys(smiles, "twins")
    assert len(set(twins)) == 2 and molecule_keys(["no molecule"], "twins") == ["no molecule"]
    texts, molecules = np.eye(4), np.eye(4)[[2, 0, 1, 3]]
    own = both_directions(texts, molecules)[0][THERE]
    more = both_directions(texts, molecules, Pairs(4, twins, "twins"))[0][THERE]
    assert (own["R@1"], more["R@1"]) == (0.25, 1)
    assert "positives differs" in own.stamp.difference(more.stamp)


def test_a_pool_of_all_splits_does_not_hold_the_queries_twice(tmp_path):
    file = tmp_path / "all.tsv"
    rows = ["OCC\tA", "C\tB", "CCO\tC", "CC\tD", "broken(\tE", "\tF"]
    file.write_text("\n".join(["SMILES\tdescription", *rows]) + "\n")
    found = read_distractors(Source(str(file)), ["CCO", "N"])
    assert (found.smiles, found.texts, found.own) == (["C", "CCO", "CC", "broken("], [], 1)
    assert found.refused == 1
    with_texts = read_distractors(Source(str(file), text="description"), ["CCO", "CCO"])
    assert (with_texts.smiles, with_texts.texts, with_texts.own) == (["C", "CC", "broken("], ["B", "D", "E"], 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: both_directions(vectors(3, 2), vectors(4, 2)), "3 texts but 4 molecules"),
        (lambda: both_directions(vectors(3, 2), vectors(3, 2), protocol="text2mol33k"), "molecules of all splits"),
        (lambda: both_directions(vectors(3, 2), vectors(3, 2), protocol="pcds"), "no ranking 'pcds'; there are: split"),
        (lambda: both_directions(vectors(3, 2), vectors(3, 2), Pairs(4)), "4 pairs, but a table of 3 rows"),
        (lambda: both_directions(vectors(3, 2), vectors(3, 2), Pairs(3, "ab", "twins")), "2 molecule keys for 3 rows"),
        (lambda: both_directions_of_scores(vectors(3, 2)), "at least as many molecules"),
        (lambda: both_directions_of_scores(vectors(0, 0)), "no queries"),
    ],
)
def test_what_cannot_be_ranked_is_told(call, says):
    with pytest.raises(UserError, match=says):
        call()


def command(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return stop.value.code, *capsys.readouterr()


def test_the_command_ranks_embeddings_scores_and_ranks_alike(capsys, tmp_path):
    texts, molecules = vectors(5, 3), vectors(7, 3, seed=1)
    smiles = np.array(["C", "CC", "CCC", "CCCC", "CCO", "OCC", "N"])
    np.savez(tmp_path / "vectors.npz", texts=texts, molecules=molecules, smiles=smiles)
    unit = [table / np.linalg.norm(table, axis=1, keepdims=True) for table in (texts, molecules)]
    np.save(tmp_path / "scores.npy", unit[0] @ unit[1].T)
    code, out, err = command(capsys, "evaluate", tmp_path / "vectors.npz", "--task", "ranking", "--out", tmp_path / "v")
    assert code == 0 and "R@10" in out and "chance" in out and "split, 7 candidates" in out, err
    assert command(capsys, "evaluate", tmp_path / "scores.npy", "--out", tmp_path / "s")[0] == 0
    first, second = (results.load(tmp_path / name / "results.json") for name in "vs")
    assert (tmp_path / "v/results.csv").is_file() and (tmp_path / "v/results.tex").is_file()
    for heading in ("Text to molecule", "Molecule to text"):
        assert first[heading]["model"].scores == second[heading]["model"].scores
    ranks = first["Text to molecule"]["model"].rows["Rank"]
    np.savez(tmp_path / "ranks.npz", text_to_molecule=ranks, pool_size=7)
    third = evaluate_rankings(tmp_path / "ranks.npz", EvaluationConfig())
    assert list(third) == ["Text to molecule"]
    assert third["Text to molecule"]["model"]["MRR"] == pytest.approx(first["Text to molecule"]["model"]["MRR"])
    assert third["Text to molecule"]["model"].stamp.settings["ties"] == "as in the file"
    twins = evaluate_rankings(tmp_path / "vectors.npz", EvaluationConfig(positives="twins"))
    assert twins["Text to molecule"]["model"]["Mean rank"] <= first["Text to molecule"]["model"]["Mean rank"]


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        ({"vectors": np.ones((2, 2))}, (), "holds vectors: want some of texts"),
        ({"texts": np.ones((2, 2))}, (), "holds neither scores"),
        ({"texts": np.ones(2), "molecules": np.ones((2, 2))}, (), "want matrices of numbers"),
        ({"texts": np.ones((2, 2)), "molecules": np.full((2, 2), np.nan)}, (), "embedding number 1 is not finite"),
        ({"scores": np.ones((2, 2), object)}, (), "cannot be read as arrays"),
        ({"scores": np.ones((2, 2))}, ("--positives", "twins"), "has no smiles"),
        ({"scores": np.ones((2, 2))}, ("--ranking", "text2mol33k"), "molecules of all splits"),
        ({"scores": np.ones((2, 2))}, ("--task", "captions"), "holds a ranking"),
        ({"pool_size": 3}, (), "has a pool_size but no"),
        ({"pool_size": 3, "text_to_molecule": np.array([1, 4])}, (), "rank number 2 is 4: ranks go from 1 to 3"),
        ({"pool_size": 0, "text_to_molecule": np.array([1])}, (), "pool_size must be one whole number"),
    ],
)
def test_bad_files_are_told_in_one_line(capsys, tmp_path, arrays, options, says):
    np.savez(tmp_path / "bad.npz", **arrays)
    code, _, err = command(capsys, "evaluate", tmp_path / "bad.npz", *options)
    assert code == 2 and err.count("\n") == 1 and says in err


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    for path, says in ((tmp_path / "cut.npz", "cannot be read as arrays"), (tmp_path / "no.npz", "no such file")):
        with pytest.raises(UserError, match=says):
            evaluate_rankings(path, EvaluationConfig())


@pytest.mark.slow
def test_the_pool_of_text2mol_is_that_of_the_field(shared):
    test = [row.smiles for row in readers.read(Source(str(shared / "data/chebi20/test.txt.gz")))]
    found = read_distractors(Source(str(shared / "data/chebi20/cid_to_smiles.tsv.gz")), test)
    assert (len(test), found.own, found.refused, len(found.smiles) + len(test)) == (3300, 3300, 0, 33010)
