"""The steps by which embed answers a purge; their order is in agents.pet_purge. Called by agents.embed."""

from __future__ import annotations

import asyncio

import structlog

from agents.delivery import Ticket
from agents.durable_table import DurableTable
from agents.embed_outputs import EmbedOutputs
from agents.known_images import prefix_of
from agents.pet_purge import encode_mark, mark_key, mark_of, purge_fact, retire
from agents.sealing_keys import SealingKeys
from schemas.commands import PurgePet

log = structlog.get_logger(__name__)


async def answer_purge(
    ticket: Ticket, command: PurgePet, table: DurableTable, outputs: EmbedOutputs, keys: SealingKeys
) -> None:
    """Returns once the broker has the fact, or the partition is another worker's."""
    await ticket.until_first()
    retired = await keys.all_of(command.pet_id)
    if not ticket.current:
        return
    mark = retire(mark_of(table.get, command.pet_id), command, retired)
    remembered = table.keys_with(ticket.event.message.partition, prefix_of(command.pet_id))
    kept = mark_key(command.pet_id)
    ticket.put(table, [(kept, encode_mark(mark)), *((key, None) for key in remembered if key != kept)])
    await asyncio.gather(*await ticket.publish())
    if not ticket.current:
        return
    outputs.purged(ticket, command, purge_fact(mark, command))
    await asyncio.gather(*await ticket.publish())
    log.info("pet_purged", purge_id=command.purge_id, keys=len(mark.keys[command.purge_id]), images=len(remembered))
