"""Hands messages to the broker and says what became of them. Called by the loops of this package.

One round: send all messages in order, wait for every acknowledgement, sort the items by outcome. Retrying is the
caller's, because it acknowledges at its source what is done before it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    RecordListTooLargeError,
    RecordTooLargeError,
    UnknownProducerId,
)

from bridges.messages import Message
from schemas.errors import StopProcess

log = structlog.get_logger(__name__)

SIZE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)
FATAL_ERRORS = (ProducerFenced, OutOfOrderSequenceNumber, UnknownProducerId, ProducerClosed)
TRANSIENT_ERRORS = (KafkaError, OSError, TimeoutError)


class Producer(Protocol):
    """What is used of aiokafka's producer. It must be idempotent with acks=all, which the caller configures."""

    async def send(
        self, topic: str, *, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Awaitable[Any]:
        """Put the message into the next batch; the returned future ends when the broker has acknowledged it."""
        ...


@dataclass(eq=False)
class Item:
    """Messages that are done together: what one record or entry of the source became. Iterated once a try."""

    messages: Iterable[Message]


ItemT = TypeVar("ItemT", bound=Item)


@dataclass
class Outcome(Generic[ItemT]):
    """What became of a round's items. `error` is the last failure."""

    done: list[ItemT] = field(default_factory=list)
    too_large: list[ItemT] = field(default_factory=list)
    transient: list[ItemT] = field(default_factory=list)
    unexpected: list[ItemT] = field(default_factory=list)
    error: BaseException | None = None

    def leading(self, items: Sequence[ItemT]) -> int:
        """How many of the round's items, from the first on, are done without a gap."""
        done = set(map(id, self.done))
        return next((n for n, item in enumerate(items) if id(item) not in done), len(items))


async def hand_over(producer: Producer, items: Sequence[ItemT], *, patience_s: float = 5.0) -> Outcome[ItemT]:
    """Send the items' messages in order and wait for the broker's word on each.

    Waits as long as the producer keeps trying, and logs after `patience_s`, then ever more seldom: an idempotent
    producer never gives a sent batch up, and sending it again meanwhile would double it. Raises StopProcess when the
    producer can never send again.
    """
    sent: list[tuple[ItemT, list[asyncio.Future[Any]]]] = []
    outcome: Outcome[ItemT] = Outcome()
    for position, item in enumerate(items):
        futures: list[asyncio.Future[Any]] = []
        try:
            for message in item.messages:
                futures.append(asyncio.ensure_future(await _send(producer, message)))
        except Exception as error:
            if futures:
                await _acknowledged(futures, patience_s)
            if _sort(outcome, item, error) is outcome.transient:
                # The next items would fail the same way, each after a long wait.
                outcome.transient.extend(items[position + 1 :])
                break
        else:
            sent.append((item, futures))
    await _acknowledged([future for _, futures in sent for future in futures], patience_s)
    for item, futures in sent:
        errors = [future.exception() for future in futures]
        failure = next((error for error in errors if error is not None), None)
        if failure is None:
            outcome.done.append(item)
        else:
            _sort(outcome, item, failure)
    return outcome


async def _send(producer: Producer, message: Message) -> Awaitable[Any]:
    return await producer.send(message.topic, value=message.value, key=message.key, headers=message.headers)


async def _acknowledged(futures: Sequence[asyncio.Future[Any]], patience_s: float) -> None:
    waiting = set(futures)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=patience_s)
        patience_s *= 2
        if waiting:
            log.warning("broker_does_not_acknowledge", messages=len(waiting), hint="Kafka down or not enough replicas")


def _sort(outcome: Outcome[ItemT], item: ItemT, error: BaseException) -> list[ItemT]:
    # aiokafka's sender task dies of what it did not expect and tells every later send so, with a bare KafkaError.
    if isinstance(error, FATAL_ERRORS) or type(error) is KafkaError:
        raise StopProcess(f"the producer can not send any more: {error!r}") from error
    outcome.error = error
    if isinstance(error, SIZE_ERRORS):
        group = outcome.too_large
    elif isinstance(error, TRANSIENT_ERRORS):
        group = outcome.transient
    else:
        group = outcome.unexpected
    group.append(item)
    return group
