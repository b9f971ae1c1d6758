"""Preparing a corpus: from sources to a folder that training reads.

Two passes. The first reads every source, finds each row's molecule in worker processes, merges duplicates, refuses what
is held out, and spools what stays to disk. Then rows are divided into splits and, if asked, a tokenizer is trained on
the training rows. The second pass turns strings into token ids in workers and writes the prepared corpus. Results come
back in the order of the input, so the bytes written do not depend on the number of workers. Memory grows by 16-byte
digests of molecules and pairs only.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from atomas_jax.corpus import splits
from atomas_jax.corpus.accounts import Lengths, SourceAccount, expected_rows, origin, versions
from atomas_jax.corpus.configuration import CorpusConfig, Source
from atomas_jax.corpus.curation import Curated, Duplicates, HeldOut, digest, refuse
from atomas_jax.corpus.pool import cores, ordered_map
from atomas_jax.corpus.prepared import SPLITS, PreparedWriter
from atomas_jax.corpus.readers import Record, Reject, read
from atomas_jax.corpus.spool import Spool, SpoolRow
from atomas_jax.corpus.stages import Encode, Examine
from atomas_jax.errors import UserError
from atomas_jax.progress import bar
from atomas_jax.tokens.tokenizer import Tokenizer

CHUNK = 256
"""Rows a worker takes at a time."""
_TRAIN = SPLITS.index("train")
_REFUSED = len(SPLITS)


def prepare(config: CorpusConfig, folder: str | Path, *, workers: int = 0, overwrite: bool = False) -> dict:
    """Make a prepared corpus in `folder` and return its manifest.

    workers: processes; 0 takes one a core. overwrite: replace a finished corpus in `folder`. Bars with rate and time
    left go to standard error. The same input and settings give the same bytes, whatever the number of workers.

    Raises `UserError` for settings that exclude each other, a source that cannot be read, a folder that cannot be
    written, or when no training row is left. The folder then holds no corpus.
    """
    splits.check(config.split)
    _check(config)
    tokenizer = None if config.tokenizer == "train" else _load_tokenizer(config.tokenizer)
    accounts = _accounts(config)
    workers = workers or cores()
    with PreparedWriter(folder, overwrite) as writer:
        spool = Spool(writer.folder / "spool.partial")
        try:
            _gather(config, accounts, writer, spool, workers)
        finally:
            spool.close()
        routes = _route(config, accounts, writer, spool)
        if not (routes == _TRAIN).any():
            raise UserError(f"no training row is left: {_losses(accounts)}")
        if tokenizer is None:
            tokenizer = _train_tokenizer(config, spool, routes)
        lengths, unknown = _encode(config, tokenizer, spool, routes, writer, workers)
        spool.path.unlink()
        tokenizer.save(writer.tokenizer_folder)
        manifest = {
            "counts": _counts(accounts),
            "lengths": {name: each.as_dict() for name, each in lengths.items()},
            "rows_with_unknown_ids": unknown,
            "tokenizer": {"sha256": tokenizer.sha256, "kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size},
            "settings": asdict(config),
            "sources": [account.as_dict() for account in accounts.values()],
            "versions": versions(),
        }
        return writer.finish(manifest)


# ---- before the work


def _check(config):
    if not (config.sources or config.describe or config.embedded):
        raise UserError("nothing to prepare: name a source file, a hub data set, or a number of embedded pairs")
    if config.embedded < 0 or config.spellings < 0:
        raise UserError("embedded and spellings are counts, not below 0")
    names = [source.label for source in (*config.sources, *config.describe)]
    if config.split.rows_from and config.split.rows_from not in names:
        raise UserError(f"split: rows_from {config.split.rows_from!r} is none of the sources {', '.join(names)}")


def _load_tokenizer(path):
    return Tokenizer.from_t5(path) if Path(path).is_file() else Tokenizer.load(path)


def _sections(config) -> list[tuple[str, Source]]:
    """(role, source) in the order of reading: what is held out from others comes before them."""
    roles = ("held_out", "test", "validation", "sources", "describe")
    return [(role, source) for role in roles for source in getattr(config, role)]


def _accounts(config):
    """One account a source, by its place in the order of reading; missing files are found here, before any work."""
    accounts = {i: SourceAccount(each.label, role, origin(each)) for i, (role, each) in enumerate(_sections(config))}
    if config.embedded:
        settings = {"pairs": config.embedded, "seed": config.seed}
        accounts[len(accounts)] = SourceAccount("embedded", "embedded", settings)
    return accounts


# ---- first pass


def _chunks(config) -> Iterator[tuple[int, bool, list]]:
    """(place of the source, whether to describe, rows) in order."""
    place = -1
    for place, (role, source) in enumerate(_sections(config)):
        rows = read(source, captions=role != "describe")
        while chunk := list(islice(rows, CHUNK)):
            yield place, role == "describe", chunk
    if config.embedded:
        rows = _embedded(config)
        while chunk := list(islice(rows, CHUNK)):
            yield place + 1, True, chunk


def _embedded(config):
    """The molecules of `embedded.embedded_pairs`; the workers write their captions."""
    from atomas_jax.chemistry.assemble import assemble

    for i, smiles in enumerate(assemble(config.embedded, config.seed)):
        yield Record("embedded", i + 1, f"embedded-{config.seed}-{i}", smiles, "")


def _gather(config, accounts, writer, spool, workers):
    """Read, examine, merge, refuse; what stays goes to the spool in order."""
    totals = [expected_rows(source) for _, source in _sections(config)] + [config.embedded]
    total = None if None in totals else sum(totals)
    always, validation = HeldOut(config.leakage), HeldOut(config.leakage)
    duplicates = Duplicates()
    stage = Examine(config.split.method == "scaffold", config.seed)
    with bar("reading and checking", total, "rows") as shown:
        for place, rows in ordered_map(stage, _chunks(config), workers):
            account = accounts[place]
            for row in rows:
                account.read += 1
                reason = _verdict(row, account, always, validation)
                if isinstance(row, Reject) or reason:
                    _write_reject(writer, account, row if isinstance(row, Reject) else refuse(row.record, reason))
                elif account.role == "held_out":
                    account.held_out += 1
                elif duplicates.seen(row.key, row.record.text):
                    account.duplicates += 1
                else:
                    _spool(spool, place, account, row)
            shown.advance(len(rows))


def _verdict(row, account, always, validation):
    """Why a row is refused as leaked, or None; rows that others must not repeat are remembered."""
    if isinstance(row, Reject):
        if account.role in ("held_out", "test"):
            always.add_caption(account.name, row.text)
        return None
    reason = None
    if account.role not in ("held_out", "test"):
        reason = always.reason(row) or (validation.reason(row) if account.role != "validation" else None)
    if reason is None and account.role in ("held_out", "test"):
        always.add(account.name, row)
    if reason is None and account.role == "validation":
        validation.add(account.name, row)
    return reason


def _spool(spool, place, account, row):
    destination = account.role if account.role in SPLITS else "train"
    record = row.record
    where = (destination, place, account.name, record.file, record.line, record.id)
    spool.append(SpoolRow(*where, record.smiles, record.text, record.phrases, row.key, row.flat_key, row.group))


def _write_reject(writer, account, refused):
    account.reject(refused.reason)
    writer.reject(source=account.name, file=refused.file, line=refused.line, reason=refused.reason, raw=refused.raw)


# ---- splits


def _route(config, accounts, writer, spool):
    """The split of every spooled row as its place in SPLITS, or _REFUSED: int8 [rows]."""
    routes = np.empty(spool.rows, np.int8)
    chosen, taken = _slice(config, spool)
    for i, row in enumerate(spool):
        split = row.destination
        if split == "train":
            record = Record(row.file, row.line, row.id, row.smiles, row.text)
            if row.source == config.split.rows_from and row.key in chosen:
                split = "validation"
            elif reason := taken.reason(Curated(record, row.key, row.flat_key, row.group)):
                _write_reject(writer, accounts[row.place], refuse(record, reason))
                routes[i] = _REFUSED
                continue
            else:
                split = splits.assign(config.split, row.group)
        accounts[row.place].kept[split] += 1
        routes[i] = SPLITS.index(split)
    return routes


def _slice(config, spool):
    """Molecules of the source that gives validation rows, and those rows as held out from the others."""
    wanted = config.split
    taken = HeldOut(config.leakage)
    if not wanted.rows_from:
        return set(), taken
    origins = ("train", wanted.rows_from)
    rows = spool.columns("destination", "source", "key")
    chosen = splits.slice_of((key for *of, key in rows if tuple(of) == origins), wanted.rows, wanted.seed, origins[1])
    for *of, key, flat_key, text in spool.columns("destination", "source", "key", "flat_key", "text"):
        if tuple(of) == origins and key in chosen:
            row = Curated(Record("", 0, "", "", text), key, flat_key, "")
            taken.add(f"validation slice of {wanted.rows_from}", row)
    return chosen, taken


# ---- tokenizer


def _train_tokenizer(config, spool, routes):
    from atomas_jax.tokens.training import train

    rows = int((routes == _TRAIN).sum())
    share = min(1.0, config.tokenizer_rows / rows)

    def training(column, shown):
        for (value, text, key), route in zip(spool.columns(column, "text", "key"), routes.tolist()):
            if route == _TRAIN and (share == 1 or splits.position(config.seed, key + text) < share):
                shown.advance()
                yield value

    command = f"atomas prepare: vocab_size {config.vocab_size}, seed {config.seed}"
    with bar("training the tokenizer", 2 * round(rows * share), "strings") as shown:
        texts, smiles = training("text", shown), training("smiles", shown)
        return train(texts, smiles, config.vocab_size, at_most=True, seed=config.seed, command=command)


# ---- second pass


def _encode(config, tokenizer, spool, routes, writer, workers):
    """Token ids of every row that has a split. Returns lengths and rows with unknown ids, by split."""
    stage = Encode(tokenizer, config.seed)
    lengths, unknown, numbers = {}, {}, {}
    kept = ((row, route) for row, route in zip(spool, routes.tolist()) if route != _REFUSED)
    waiting = deque()  # the strings go out to the workers, the rows wait here for their ids

    def chunks():
        while rows := list(islice(kept, CHUNK)):
            waiting.append(rows)
            yield [(row.smiles, row.text, row.key, config.spellings * (route == _TRAIN)) for row, route in rows]

    with bar("writing", int((routes != _REFUSED).sum()), "rows") as shown:
        for encoded in ordered_map(stage, chunks(), workers):
            rows = waiting.popleft()
            for (row, route), spellings, text_ids in zip(rows, encoded.spellings(), encoded.texts()):
                split = SPLITS[route]
                writer.add(
                    split,
                    molecule=numbers.setdefault(digest(row.key), len(numbers)),
                    key=row.key,
                    flat_key=row.flat_key,
                    smiles=row.smiles,
                    text=row.text,
                    source=row.source,
                    id=row.id,
                    smiles_tokens=spellings,
                    text_tokens=text_ids,
                    phrases=row.phrases,
                )
                lengths.setdefault(split, Lengths()).add(max(map(len, spellings)), len(text_ids))
                if any((ids == tokenizer.unk_id).any() for ids in (text_ids, *spellings)):
                    unknown[split] = unknown.get(split, 0) + 1
            shown.advance(len(rows))
    return lengths, unknown


# ---- after the work


def _counts(accounts):
    rejected, rows = Counter(), Counter()
    for account in accounts.values():
        rejected.update(account.rejected)
        rows.update(account.kept)
    return {
        "read": sum(account.read for account in accounts.values()),
        "rows": {name: rows[name] for name in SPLITS if rows[name]},
        "duplicates": sum(account.duplicates for account in accounts.values()),
        "rejected": dict(sorted(rejected.items())),
        "held_out": sum(account.held_out for account in accounts.values()),
    }


def _losses(accounts):
    counts = _counts(accounts)
    lost = [f"{count:,} {kind}" for kind, count in counts["rejected"].items()]
    return ", ".join([f"{counts['read']:,} read", f"{counts['duplicates']:,} duplicates", *lost])
