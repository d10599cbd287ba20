"""The archive of waveforms on real files, cut off at every step; and what the bridge writes first."""

from __future__ import annotations

import asyncio
import sqlite3
import tomllib
from pathlib import Path

import duckdb
import numpy as np
import pytest

from contracts.configuration import check_settings
from contracts.kafka_topic import OBSERVATIONS, WAVEFORMS, partition_of
from contracts.quality import Reason
from contracts.record import empty_record
from contracts.uplink import BatchIdentity
from contracts.waveform_message import Waveform, WaveformMessage, decode_waveforms, encode_waveforms
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.distributed import archive_handler, waveform_archive, waveform_process
from stream_processor.distributed.archive_handler import ArchiveHandler
from stream_processor.distributed.channel_to_kafka import Writer
from stream_processor.distributed.gateway_status import GatewayStatus
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.partition_buffer import GatherBounds, PartitionBuffer
from stream_processor.distributed.waveform_archive import KNOWN_FOR_NS, WaveformArchive
from stream_processor.distributed.waveform_process import WaveformSettings, offer
from stream_processor.effects import BatchReceived
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession

FIRST_NS = 1_761_955_200_000_000_000
SAMPLES = np.array([1.5, np.nan, -3.0], np.float32)


def message(batch: int, gateway: str = "gw-1", channel_id: int = 11) -> bytes:
    block = Waveform(channel_id, FIRST_NS + batch * 10**9, FIRST_NS + 10**12, 100.0, int(Reason.OK), SAMPLES)
    return encode_waveforms(WaveformMessage(gateway, BatchIdentity(gateway, 7, batch), (block,)))


@pytest.fixture
def contexts(fleet):
    return FleetIndex(fleet).contexts


@pytest.fixture
def archive(tmp_path, contexts):
    return WaveformArchive(tmp_path, 1_000, contexts)


def stored(folder: Path) -> list[tuple]:
    if not any(folder.rglob("*.parquet")):
        return []
    return duckdb.execute(
        f"SELECT gateway_id, epoch, batch, node_id, domain FROM"
        f" read_parquet('{folder}/waveforms/**/*.parquet', hive_partitioning = true) ORDER BY 1, 3"
    ).fetchall()


def test_what_was_taken_is_in_parquet_once_when_it_is_closed(tmp_path, archive):
    archive.append(3, [(0, message(1)), (1, message(2))], 100)
    archive.append(3, [(1, message(2)), (2, message(3))], 101)
    assert stored(tmp_path) == []
    assert archive.close_older(200, 200)
    assert not archive.close_older(200, 200)
    rows = stored(tmp_path)
    assert [row[2] for row in rows] == [1, 2, 3], "a batch that comes twice is passed over"
    assert rows[0] == ("gw-1", 7, 1, "gas-001", "gas")
    archive.append(3, [(3, message(3)), (4, message(4))], 300)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    archive.close_older(400, 400)
    assert [row[2] for row in stored(tmp_path)] == [1, 2, 3, 4], "also after its journal was closed"
    assert {path: path.read_bytes() for path in before} == before, "closed files are never rewritten"


def test_a_full_journal_is_closed_at_once_and_each_partition_has_its_own(tmp_path, contexts):
    archive = WaveformArchive(tmp_path, 6, contexts)
    archive.append(0, [(0, message(1)), (1, message(2))], 1)
    archive.append(1, [(0, message(1, "gw-2"))], 1)
    assert [row[0] for row in stored(tmp_path)] == ["gw-1", "gw-1"]


@pytest.mark.parametrize("step", ["write_parquet", "sync", "build_waveform_parts"])
def test_a_closing_that_was_cut_off_is_finished_without_doubles(tmp_path, archive, contexts, monkeypatch, step):
    archive.append(0, [(0, message(1)), (1, message(2, channel_id=12)), (2, message(3, channel_id=999))], 1)
    calls = []

    def cut(*arguments):
        calls.append(arguments)
        if len(calls) == 2 or step == "build_waveform_parts":
            raise OSError("the power is gone")
        return original(*arguments)

    original = getattr(waveform_archive, step)
    with monkeypatch.context() as broken:
        broken.setattr(waveform_archive, step, cut)
        with pytest.raises(OSError, match="power"):
            archive.close_older(10, 10)
    again = WaveformArchive(tmp_path, 1_000, contexts)
    again.append(0, [(3, message(4))], 20)
    again.finish_begun()
    assert [row[2] for row in stored(tmp_path)] == [1, 2, 3], "what came since waits for the next closing"
    again.close_older(30, 30)
    assert [row[2] for row in stored(tmp_path)] == [1, 2, 3, 4]
    assert not list(tmp_path.rglob("*.draft"))


def test_a_message_that_is_none_is_counted_and_stops_nothing(tmp_path, archive):
    archive.append(0, [(0, b"garbage"), (1, message(1)), (2, message(2)[:50])], 1)
    archive.close_older(2, 2)
    assert archive.unreadable_total == 2
    assert [row[2] for row in stored(tmp_path)] == [1]


def test_identities_are_forgotten_when_nobody_can_send_them_again(tmp_path, archive):
    archive.append(0, [(0, message(1))], 1)
    archive.close_older(2, KNOWN_FOR_NS + 2)
    journal = sqlite3.connect(tmp_path / "journal" / "waveforms-0000.sqlite")
    assert journal.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    journal.close()


def test_a_journal_that_another_worker_holds_is_waited_for(tmp_path, archive, contexts, monkeypatch):
    monkeypatch.setattr(waveform_archive, "_BUSY_S", 0.01)
    monkeypatch.setattr(archive_handler, "_RETRY_S", 0.01)
    archive.append(0, [(0, message(1))], 1)
    other = sqlite3.connect(tmp_path / "journal" / "waveforms-0000.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    handler = ArchiveHandler(archive, WaveformSettings(directory=tmp_path).max_age_s, offer)

    async def take():
        taking = asyncio.create_task(handler.take([SourceMessage(0, 1, message(2))]))
        while handler.waiting_because is None:
            assert not taking.done()
            await asyncio.sleep(0.005)
        assert "locked" in handler.waiting_because
        other.execute("ROLLBACK")
        await taking
        assert handler.waiting_because is None

    asyncio.run(take())
    other.close()
    archive.close_older(2**62, 2**62)
    assert [row[2] for row in stored(tmp_path)] == [1, 2]


def test_the_example_is_a_configuration_with_the_defaults():
    path = Path(waveform_process.__file__).parent / "example-waveform.toml"
    settings = check_settings(waveform_process.ProcessSettings, tomllib.loads(path.read_text()), str(path))
    assert settings.waveforms.samples_per_file == WaveformSettings(directory=Path("x")).samples_per_file
    assert settings.anchored(Path("/etc")).waveforms.directory == Path("/etc/archive")


class Producer:
    """Remembers what is written, in order."""

    def __init__(self):
        self.written = []

    async def send(self, messages):
        self.written.append(list(messages))


def test_the_bridge_writes_waveforms_before_the_record_by_which_their_batch_is_acknowledged(fleet):
    identity = BatchIdentity("gw-1", 7, 5)
    block = Waveform(11, FIRST_NS, FIRST_NS, 100.0, 0, SAMPLES)
    channel = BoundedChannel(1_000)
    channel.put(BatchReceived("gw-1", identity, _with(identity), waveforms=(block,)))
    producer = Producer()
    writer = Writer(
        channel, HostSession(FleetIndex(fleet)), GatewayStatus(), lambda _now: ("bridge/x", None),
        PartitionBuffer(4, GatherBounds(500, 0)), producer, partitions=4, gather_interval_s=0.001,
    )  # fmt: skip
    writer.stop()
    asyncio.run(writer.run())
    first, second = producer.written[0], [each for each in producer.written[1] if each.topic is OBSERVATIONS]
    (waveforms,) = first
    assert waveforms.topic is WAVEFORMS
    assert waveforms.partition == partition_of("gw-1", 4)
    assert waveforms.key == b"gw-1"
    found = decode_waveforms(waveforms.value)
    assert found.identity == identity
    assert found.waveforms[0].samples.tobytes() == SAMPLES.tobytes()
    assert any(each.partition == waveforms.partition for each in second)


def _with(identity):
    record = empty_record()
    return type(record)(*(getattr(record, name) for name in record.__slots__[:-1]), batches=(identity,))
