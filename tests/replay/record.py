"""Records a log for tests/replay: `python -m tests.replay.record BOOTSTRAP_SERVERS TOPIC FILE`.

The file is msgpack: a list of (partition, offset, key, value) as they stand in the topic.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from tests.e2e.kafka_log import read_topic


def main(bootstrap_servers: str, topic: str, file: Path) -> None:
    """Write all records of `topic` to `file`."""
    records = asyncio.run(read_topic(bootstrap_servers, topic))
    file.write_bytes(msgspec.msgpack.encode([(r.partition, r.offset, r.key, r.value) for r in records]))
    print(f"{len(records)} records")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
