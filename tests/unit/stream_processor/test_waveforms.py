"""Waveforms on the platform: from an array metric to the store, to Parquet and to the read API."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import uplink
from contracts.access import Principal, Role, hash_token
from contracts.errors import RecordError
from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from contracts.record import empty_record
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, Property, encode_payload
from contracts.uplink import BatchIdentity
from contracts.waveform import FIRST_SAMPLE_TIME, SAMPLE_RATE
from contracts.waveform_message import Waveform, WaveformMessage, decode_waveforms, encode_waveforms, waveforms_of
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.change_signal import ChangeSignal
from stream_processor.commit_plan import plan_commit
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.effects import BatchReceived
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_ledger import GapLedger
from stream_processor.host_session import HostSession
from stream_processor.http_api import WAVEFORM_BLOCKS_MAX, ReadModel, build_api
from stream_processor.latest_table import LatestTable
from stream_processor.parquet_export import ParquetExport
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.store_columns import Commit
from stream_processor.waveform_export import WaveformExport

TIME_MS = 1_761_955_200_000
FIRST_NS = TIME_MS * 1_000_000 + 123_456
RECEIVED_NS = FIRST_NS + 2_000_000_000
SAMPLES = np.array([1.5, -0.1, 3.4e38, np.nan, 1e-40], np.float32)
VALUES = tuple(SAMPLES.tolist())
WAVE, SCALAR = 7, 8
VIEWER = {"Authorization": "Bearer viewer-token"}


@pytest.fixture
def fleet(fleet):
    """With a strain gauge on gw-1."""
    rows = fleet.model_dump(mode="json")
    site = {**rows["sites"][0], "site_id": "bridge", "domain": "bridge", "name": "Bridge"}
    node = {**rows["nodes"][0], "node_id": "gauge-1", "site_id": "bridge"}
    rows["sites"].append(site)
    rows["nodes"].append(node)
    rows["channels"].append({"channel_id": 21, "node_id": "gauge-1", "quantity": "strain"})
    return FleetSnapshot.model_validate(rows)


def nbirth():
    metrics = [
        Metric(name="bdSeq", timestamp_ms=TIME_MS, datatype=DataType.INT64, value=0),
        Metric(name="Node Control/Rebirth", timestamp_ms=TIME_MS, datatype=DataType.BOOLEAN, value=False),
        Metric(name=uplink.EPOCH, timestamp_ms=TIME_MS, datatype=DataType.UINT64, value=7),
    ]
    return "spBv1.0/harbour/NBIRTH/gw-1", encode_payload(Payload(TIME_MS, metrics, 0))


def dbirth(name="gauge-1/strain/waveform", datatype=DataType.FLOAT_ARRAY):
    metrics = [
        Metric(name=name, alias=WAVE, timestamp_ms=TIME_MS, datatype=datatype),
        Metric(name="gauge-1/strain", alias=SCALAR, timestamp_ms=TIME_MS, datatype=DataType.DOUBLE),
    ]
    return "spBv1.0/harbour/DBIRTH/gw-1/tcp", encode_payload(Payload(TIME_MS, metrics, 1))


def block(value=VALUES, datatype=DataType.FLOAT_ARRAY, rate=100.0, first_ns=FIRST_NS, **more):
    properties = {}
    if rate is not None:
        properties[SAMPLE_RATE] = Property(DataType.DOUBLE, rate)
    if first_ns is not None:
        properties[FIRST_SAMPLE_TIME] = Property(DataType.INT64, first_ns)
    return Metric(alias=WAVE, timestamp_ms=TIME_MS, datatype=datatype, value=list(value), properties=properties | more)


def ddata(*metrics, seq=2, batch=5):
    identity = [
        Metric(name=uplink.EPOCH, timestamp_ms=TIME_MS, datatype=DataType.UINT64, value=7),
        Metric(name=uplink.BATCH, timestamp_ms=TIME_MS, datatype=DataType.UINT64, value=batch),
    ]
    octets = encode_payload(Payload(TIME_MS, [*identity, *metrics], seq), with_datatypes=False)
    return "spBv1.0/harbour/DDATA/gw-1/tcp", octets


@pytest.fixture
def session(fleet):
    session = HostSession(FleetIndex(fleet))
    session.step(*nbirth(), RECEIVED_NS)
    session.step(*dbirth(), RECEIVED_NS)
    return session


def received(session, *metrics, **where) -> BatchReceived:
    (effect,) = session.step(*ddata(*metrics, **where), RECEIVED_NS)
    assert isinstance(effect, BatchReceived)
    return effect


def waveform(first_ns=FIRST_NS, channel_id=21, samples=SAMPLES, reason=Reason.OK):
    return Waveform(channel_id, first_ns, RECEIVED_NS, 100.0, int(reason), samples)


# --- the host -----------------------------------------------------------------------------------------------------


def test_a_block_is_that_of_its_channel_to_the_bit_and_to_the_nanosecond(session):
    batch = received(session, block())
    assert batch.identity == BatchIdentity("gw-1", 7, 5)
    assert len(batch.record) == 0
    assert not batch.refused
    (found,) = batch.waveforms
    assert (found.channel_id, found.first_ns, found.sample_rate_hz, found.reason) == (21, FIRST_NS, 100.0, 0)
    assert found.samples.tobytes() == SAMPLES.tobytes()


def test_the_payload_of_another_encoder_is_read_as_it_says(fleet):
    vector = json.loads((Path(__file__).parents[2] / "golden/waveform/float_array.json").read_text())
    expected = vector["expected"]
    rows = fleet.model_dump(mode="json")
    for row in (*rows["nodes"], *rows["channels"]):
        row["node_id"] = "span-1" if row["node_id"] == "gauge-1" else row["node_id"]
    session = HostSession(FleetIndex(FleetSnapshot.model_validate(rows)))
    session.step(*nbirth(), RECEIVED_NS)
    session.step("spBv1.0/harbour/DBIRTH/gw-1/tcp", bytes.fromhex(vector["dbirth_hex"]), RECEIVED_NS)
    (batch,) = session.step("spBv1.0/harbour/DDATA/gw-1/tcp", bytes.fromhex(vector["ddata_hex"]), RECEIVED_NS)
    session.tick(RECEIVED_NS)
    assert batch.identity == BatchIdentity("gw-1", expected["epoch"], expected["batch"])
    (found,) = batch.waveforms
    assert (found.channel_id, found.first_ns, found.sample_rate_hz) == (21, expected["first_ns"], 100.0)
    assert Reason(found.reason).wire_name == expected["reason"]
    assert found.samples.tobytes().hex() == expected["samples_hex"]


def test_blocks_and_readings_may_stand_in_one_payload(session):
    scalar = Metric(alias=SCALAR, timestamp_ms=TIME_MS, datatype=DataType.DOUBLE, value=4.5)
    batch = received(session, scalar, block(), scalar, block())
    assert batch.record.value.tolist() == [4.5, 4.5]
    assert batch.record.channel_id.tolist() == [21, 21], "the mean is the channel itself"
    assert len(batch.waveforms) == 2


def test_a_block_that_is_not_good_says_why(session):
    properties = {"Quality": Property(DataType.INT32, 0), "Reason": Property(DataType.STRING, "out_of_range")}
    (found,) = received(session, block(**properties)).waveforms
    assert found.reason == Reason.OUT_OF_RANGE


def test_a_block_from_the_future_is_kept_and_suspect(session):
    ahead_ns = (TIME_MS + 3_600_000) * 1_000_000
    late = replace(block(first_ns=ahead_ns), timestamp_ms=TIME_MS + 3_600_000)
    batch = received(session, late)
    assert batch.waveforms[0].reason == Reason.CLOCK_SUSPECT


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (block(rate=None), "property SampleRate is None"),
        (block(rate=0.0), "property SampleRate is 0.0"),
        (block(rate=1e9), "property SampleRate is 1000000000.0"),
        (block(value=()), "0 samples"),
        (block(first_ns=FIRST_NS + 1_000_000), "property FirstSampleTime is 1761955200001123456"),
    ],
)
def test_a_block_that_cannot_be_placed_is_refused_with_its_reason_and_its_batch_is_stored(session, metric, words):
    batch = received(session, metric)
    assert batch.identity is not None
    assert not batch.waveforms
    (bad,) = batch.refused
    assert bad.reason == "wrong_waveform"
    assert words in bad.detail
    assert "gauge-1/strain" in bad.detail


def test_octets_that_are_no_array_of_the_type_are_refused(session):
    batch = received(session, Metric(alias=WAVE, timestamp_ms=TIME_MS, datatype=DataType.BYTES, value=b"7 bytes"))
    (bad,) = batch.refused
    assert "7 bytes are no FLOAT_ARRAY" in bad.detail
    assert not batch.waveforms


def test_a_node_that_the_registry_does_not_know_has_no_waveforms(fleet):
    session = HostSession(FleetIndex(fleet))
    session.step(*nbirth(), RECEIVED_NS)
    session.step(*dbirth("nobody/strain/waveform"), RECEIVED_NS)
    batch = received(session, block())
    assert [bad.reason for bad in batch.refused] == ["unknown_node"]


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT16_ARRAY, [-32_768, 0, 32_767]),
        (DataType.UINT16_ARRAY, [0, 65_535]),
        (DataType.DOUBLE_ARRAY, [0.5, -2.0]),
    ],
)
def test_another_edge_node_may_send_other_arrays_under_the_channels_own_name(fleet, datatype, value):
    session = HostSession(FleetIndex(fleet))
    session.step(*nbirth(), RECEIVED_NS)
    octets = encode_payload(Payload(TIME_MS, [Metric("gauge-1/strain", WAVE, TIME_MS, datatype)], 1))
    session.step("spBv1.0/harbour/DBIRTH/gw-1/tcp", octets, RECEIVED_NS)
    (found,) = received(session, block(value, datatype, first_ns=None)).waveforms
    assert found.samples.tolist() == value
    assert found.first_ns == TIME_MS * 1_000_000


def test_an_array_of_numbers_too_large_for_the_store_is_no_sample(fleet):
    session = HostSession(FleetIndex(fleet))
    session.step(*nbirth(), RECEIVED_NS)
    session.step(*dbirth(datatype=DataType.DOUBLE_ARRAY), RECEIVED_NS)
    (found,) = received(session, block([1e300], DataType.DOUBLE_ARRAY)).waveforms
    assert np.isinf(found.samples).all()


def test_samples_fill_the_bounded_channel(session):
    channel = BoundedChannel(100)
    channel.put(received(session, block(value=[0.0] * 1_000)))
    channel.put(received(session, block(), seq=3, batch=6))
    assert channel.shed_batches_total == 1


# --- the store ----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    store = DuckdbStore(tmp_path)
    yield store
    store.close()


@pytest.fixture
def pipeline(fleet):
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(fleet))
    return pipeline


def commit(store, pipeline, *waveforms, batch=1):
    identity = BatchIdentity("gw-1", 7, batch)
    stored = [(each, identity) for each in waveforms]
    scored = pipeline.step(empty_record(), 1)
    return store.commit(Commit(scored.record, scored, [identity], waveforms=stored))


def test_a_batch_that_comes_twice_is_stored_once(session):
    first, again = received(session, block()), received(session, block(), seq=3)
    plan = plan_commit([first, again], GapLedger())
    assert len(plan.waveforms) == 1
    assert plan.duplicates == [BatchIdentity("gw-1", 7, 5)]


def test_a_block_is_there_after_reopening_and_its_batch_is_known(tmp_path, store, pipeline):
    seq = commit(store, pipeline, waveform())
    store.close()
    again = DuckdbStore(tmp_path)
    (found,) = again.waveforms(21, FIRST_NS, FIRST_NS + 1, 10)
    assert found.samples.tobytes() == SAMPLES.tobytes()
    assert (found.first_ns, found.received_ns, found.sample_rate_hz) == (FIRST_NS, RECEIVED_NS, 100.0)
    assert list(again.stored_batches()) == [("gw-1", 7, 1, 1)]
    assert commit(again, pipeline, waveform(FIRST_NS + 1), batch=2) == seq + 1, "commit numbers go on"
    again.close()


def test_parquet_holds_each_block_once_and_duckdb_reads_it_in_one_line(tmp_path, store, fleet, pipeline):
    folder = tmp_path / "waveforms"
    export = WaveformExport(store, folder)
    commit(store, pipeline, waveform(), waveform(FIRST_NS + 10**9))
    assert export.export(fleet) == 2
    assert export.export(fleet) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    commit(store, pipeline, waveform(FIRST_NS + 2 * 10**9, reason=Reason.OUT_OF_RANGE), batch=2)
    assert export.export(fleet) == 1
    assert {path: path.read_bytes() for path in before} == before, "closed files are never rewritten"
    (path, *_) = before
    assert path.parent.relative_to(folder).as_posix() == "date=2025-11-01/domain=bridge"
    rows = duckdb.execute(
        f"SELECT node_id, quantity, unit, gateway_id, batch, first_ns, sample_rate_hz, sample_count, quality, domain"
        f" FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) ORDER BY first_ns"
    ).fetchall()
    assert rows[0] == ("gauge-1", "strain", "um/m", "gw-1", 1, FIRST_NS, 100.0, 5, "good", "bridge")
    assert [row[4] for row in rows] == [1, 1, 2]
    assert rows[2][8] == "bad"
    table = duckdb.sql(f"SELECT samples FROM read_parquet('{path}') ORDER BY first_ns").to_arrow_table()
    assert table.schema.field("samples").type.value_type == pa.float32()
    assert table.column("samples")[0].values.to_numpy(zero_copy_only=False).tobytes() == SAMPLES.tobytes()


def test_an_export_that_was_cut_off_is_done_again_without_doubles(tmp_path, store, fleet, pipeline):
    folder = tmp_path / "waveforms"
    commit(store, pipeline, waveform())
    export = WaveformExport(store, folder)
    export.export(fleet)
    with store.transaction() as cursor:
        cursor.execute("UPDATE waveform_export SET is_done = false")
    assert export.export(fleet) == 1
    assert duckdb.execute(f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet')").fetchone() == (1,)


def test_blocks_leave_the_hot_store_only_when_they_are_in_parquet(tmp_path, store, fleet, pipeline):
    export = WaveformExport(store, tmp_path / "waveforms")
    commit(store, pipeline, waveform())
    assert export.drop_exported(RECEIVED_NS + 1) == 0
    export.export(fleet)
    assert export.drop_exported(RECEIVED_NS) == 0
    assert export.drop_exported(RECEIVED_NS + 1) == 1
    assert ParquetExport(store, tmp_path / "parquet").export(fleet) == 0, "readings have files of their own"


def test_an_unknown_channel_and_a_mad_clock_have_folders_of_their_own(tmp_path, store, fleet, pipeline):
    folder = tmp_path / "waveforms"
    commit(store, pipeline, waveform(channel_id=999), waveform(first_ns=1))
    WaveformExport(store, folder).export(fleet)
    folders = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    assert folders == {"date=2025-11-01/domain=unknown", "date=1970-01-01/domain=bridge"}


# --- the read API -------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(store):
    async def waveforms(*arguments):
        return store.waveforms(*arguments)

    model = ReadModel(
        latest=LatestTable(), latest_changed=ChangeSignal(), trend=None, completeness=None, quarantine=None,
        health=None, is_stopping=lambda: False, waveforms=waveforms,
    )  # fmt: skip

    def ask(path, model=model, **headers):
        api = build_api(model, (Principal(name="v", role=Role.VIEWER, token_sha256=hash_token("viewer-token")),))

        async def call():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=api), base_url="http://test") as client:
                return await client.get(path, headers=VIEWER | headers)

        return asyncio.run(call())

    ask.model = model
    return ask


def test_the_api_shows_the_blocks_of_a_time_and_no_nan(store, pipeline, ask):
    commit(store, pipeline, waveform(), waveform(FIRST_NS + 10**9))
    page = ask(f"/v1/channels/21/waveform?from_ns={FIRST_NS}&to_ns={FIRST_NS + 1}").json()
    (found,) = page["blocks"]
    assert found["first_ns"] == FIRST_NS
    assert found["sample_rate_hz"] == 100.0
    assert (found["level"], found["reason"]) == ("good", "ok")
    assert found["samples"][3] is None
    assert np.array(found["samples"][:3], np.float32).tobytes() == SAMPLES[:3].tobytes()
    assert ask(f"/v1/channels/22/waveform?from_ns=0&to_ns={RECEIVED_NS}").json()["blocks"] == []


def test_who_computes_gets_an_arrow_stream(store, pipeline, ask):
    commit(store, pipeline, waveform())
    answer = ask(
        f"/v1/channels/21/waveform?from_ns=0&to_ns={RECEIVED_NS}", accept="application/vnd.apache.arrow.stream"
    )
    with pa.ipc.open_stream(answer.content) as stream:
        (found,) = waveforms_of(stream.read_all().combine_chunks())
    assert found.samples.tobytes() == SAMPLES.tobytes()


def test_too_many_blocks_are_asked_on_from_where_the_answer_ends(store, pipeline, ask):
    commit(
        store,
        pipeline,
        *(waveform(FIRST_NS + number, samples=SAMPLES[:1]) for number in range(WAVEFORM_BLOCKS_MAX + 5)),
    )
    page = ask(f"/v1/channels/21/waveform?from_ns=0&to_ns={RECEIVED_NS}").json()
    assert len(page["blocks"]) == WAVEFORM_BLOCKS_MAX
    rest = ask(f"/v1/channels/21/waveform?from_ns={page['to_ns']}&to_ns={RECEIVED_NS}").json()
    assert len(rest["blocks"]) == 5


def test_a_processor_without_waveforms_says_where_they_are(ask):
    answer = ask("/v1/channels/21/waveform", model=replace(ask.model, waveforms=None))
    assert answer.status_code == 501
    assert "dataset waveforms/" in answer.json()["detail"]


# --- Kafka --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [BatchIdentity("gw-1", 7, 5), None])
def test_a_message_comes_back_to_the_bit(identity):
    message = WaveformMessage("gw-1", identity, (waveform(), waveform(FIRST_NS + 1, samples=SAMPLES[:2])))
    again = decode_waveforms(encode_waveforms(message))
    assert (again.gateway_id, again.identity) == ("gw-1", identity)
    assert [each.samples.tobytes() for each in again.waveforms] == [SAMPLES.tobytes(), SAMPLES[:2].tobytes()]
    assert [each.first_ns for each in again.waveforms] == [FIRST_NS, FIRST_NS + 1]


def test_what_is_no_message_is_an_error_of_ours():
    whole = encode_waveforms(WaveformMessage("gw-1", None, (waveform(),)))
    for octets in (b"", b"garbage", whole[:40], whole[: len(whole) // 2]):
        with pytest.raises(RecordError):
            decode_waveforms(octets)


def test_the_queries_of_the_guide_run_and_damage_is_that_of_the_counts(tmp_path, store, fleet, pipeline):
    commit(store, pipeline, waveform(), waveform(FIRST_NS + 10**9))
    WaveformExport(store, tmp_path / "waveforms").export(fleet)
    rows = [(1, 0.0), (1, 4.0), (1, 6.0), (1, 1.5), (3, 10.0), (3, 11.0)]  # of bin 1 with a start of the agent in it
    folder = tmp_path / "parquet" / "date=2025-11-01" / "domain=bridge"
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "node_id": ["gauge-1"] * len(rows),
            "quantity": [f"strain_cycles_{number:02d}" for number, _ in rows],
            "value": [value for _, value in rows],
            "event_time": pa.array(range(len(rows)), pa.timestamp("ms")),
        }
    )
    pq.write_table(table, folder / "part-1.parquet")
    page = (Path(__file__).parents[3] / "docs/waveforms.md").read_text()
    queries = [
        query.replace("'parquet/", f"'{tmp_path}/parquet/").replace("'waveforms/", f"'{tmp_path}/waveforms/")
        for block in re.findall(r"```\n(SELECT.*?)```", page, re.DOTALL)
        for query in block.split(";\n")
        if query.strip()
    ]
    damage, blocks, samples = (duckdb.connect().execute(query).fetchall() for query in queries)
    assert damage == [("gauge-1", pytest.approx(((6.0 + 1.5) * 2.0**3 + 1.0 * 6.0**3) / 2e12))]
    assert blocks == []
    assert len(samples) == 10
    assert sorted(time_ns for time_ns, _ in samples)[:2] == [FIRST_NS, FIRST_NS + 10_000_000]
