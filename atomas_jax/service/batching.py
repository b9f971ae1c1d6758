"""Requests of many callers, done together: what waits while the device works is its next batch."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

Work = Callable[[Hashable, list], Sequence]


class Busy(RuntimeError):
    """As many items wait as may."""


@dataclass
class _Waiting:
    kind: Hashable
    item: Any
    answer: asyncio.Future


class Batcher:
    """Gives items to `work(kind, items)`, one batch of one kind at a time, in a thread of its own.

    `work` returns one result an item; it is never called twice at once. `largest`: items of a batch. `most`: items that
    may wait. `patience`: seconds that an idle device waits for company of the first item.
    """

    def __init__(self, work: Work, largest: int = 64, most: int = 1024, patience: float = 0.003):
        self._work, self._largest, self._most, self._patience = work, largest, most, patience
        self._waiting: list[_Waiting] = []
        self._something = asyncio.Event()
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.batches = 0
        """Batches done."""
        self.items = 0
        """Items done."""

    @property
    def waiting(self) -> int:
        """Items not given to the device yet."""
        return len(self._waiting)

    async def ask(self, kind: Hashable, items: Sequence) -> list:
        """The results of items, which may ride in several batches and with those of others.

        Raises:
          Busy: they would be more than may wait. What `work` raised for the batch of one of them.
        """
        self._forget_the_gone()
        if len(self._waiting) + len(items) > self._most:
            raise Busy(f"{len(self._waiting)} strings are waiting: try again later")
        loop = asyncio.get_running_loop()
        added = [_Waiting(kind, item, loop.create_future()) for item in items]
        self._waiting += added
        self._something.set()
        return list(await asyncio.gather(*(each.answer for each in added)))

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._something.wait()
            if len(self._waiting) < self._largest:
                await asyncio.sleep(self._patience)
            batch = self._next()
            if not batch:
                continue
            work = loop.run_in_executor(self._device, self._work, batch[0].kind, [each.item for each in batch])
            await asyncio.wait([work])  # does not raise: a batch that fails is told to who waits for it, and no other
            failure = work.exception()
            for each, result in zip(batch, [None] * len(batch) if failure else work.result(), strict=True):
                if each.answer.done():
                    continue  # the caller has gone
                if failure:
                    each.answer.set_exception(failure)
                else:
                    each.answer.set_result(result)
            self.batches, self.items = self.batches + 1, self.items + len(batch)

    def close(self) -> None:
        """Let the thread end."""
        self._device.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> list[_Waiting]:
        self._forget_the_gone()
        batch = [each for each in self._waiting if each.kind == self._waiting[0].kind][: self._largest]
        taken = set(map(id, batch))
        self._waiting = [each for each in self._waiting if id(each) not in taken]
        if not self._waiting:
            self._something.clear()
        return batch

    def _forget_the_gone(self) -> None:
        self._waiting = [each for each in self._waiting if not each.answer.done()]
