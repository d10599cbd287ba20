"""The read API: every route asks for a token; answers are the contracts' models."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest

from contracts.access import Principal, Role, hash_token
from contracts.quality import Reason
from contracts.query import PipelineHealth
from stream_processor.change_signal import ChangeSignal
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.errors import StoreBusyError
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_ledger import GapLedger
from stream_processor.http_api import ReadModel, build_api
from stream_processor.latest_table import LatestTable
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.store_columns import Commit

VIEWER = {"Authorization": "Bearer viewer-token"}


def answer_of(question):
    async def answer(*arguments):
        return question(*arguments)

    return answer


@pytest.fixture
def model(tmp_path, fleet, record_of):
    store = DuckdbStore(tmp_path)
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(fleet))
    latest = LatestTable()
    latest.grow(pipeline.channels.channel_ids)
    record = record_of((11, 0, 5.0), (12, 1, np.nan, Reason.NO_ANSWER))
    scored = pipeline.step(record, 1)
    store.commit(Commit(record, scored, []))
    latest.take(record, scored)
    health = PipelineHealth(
        is_broker_connected=True, stored_observations_total=2, duplicate_batches_total=0, quarantined_total=0,
        unscored_batches_total=0, shed_batches_total=0, queued_batches=0, outbox_events=0, gateways=[],
    )  # fmt: skip
    yield ReadModel(
        latest=latest,
        latest_changed=ChangeSignal(),
        trend=answer_of(store.trend),
        waveforms=answer_of(store.waveforms),
        completeness=lambda: list(GapLedger().rows()),
        quarantine=answer_of(store.quarantine_page),
        health=answer_of(lambda: health),
        is_stopping=lambda: False,
    )
    store.close()


@pytest.fixture
def api(model):
    return build_api(model, (Principal(name="v", role=Role.VIEWER, token_sha256=hash_token("viewer-token")),))


def get(api, path, headers=VIEWER):
    async def call():
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(call())


def test_every_route_but_the_liveness_check_needs_a_token(api):
    paths = [route.path.replace("{channel_id}", "11") for route in api.routes]
    assert len(paths) >= 6
    for path in paths:
        expected = 200 if path == "/healthz" else 401
        assert get(api, path, {}).status_code == expected, path
        assert get(api, path, {"Authorization": "Bearer wrong"}).status_code == expected, path
        assert get(api, path).status_code == 200, path


def test_last_values_tell_bad_from_good(api):
    rows = {row["channel_id"]: row for row in get(api, "/v1/latest").json()["channels"]}
    assert (rows[11]["value"], rows[11]["reason"]) == (5.0, "ok")
    assert (rows[12]["value"], rows[12]["reason"], rows[12]["level"]) == (None, "no_answer", "bad")


def test_a_revision_of_an_earlier_process_gets_everything(api):
    assert len(get(api, "/v1/latest?changed_after=999999").json()["channels"]) == 2


def test_a_long_poll_answers_when_something_changes(api, model):
    async def poll():
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=VIEWER) as client:
            known = model.latest.revision
            waiting = asyncio.create_task(client.get(f"/v1/latest?changed_after={known}&wait_s=20"))
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
            model.latest.take_lost(np.array([0]), Reason.GATEWAY_LOST, time.time_ns())
            model.latest_changed.notify()
            return (await asyncio.wait_for(waiting, 5)).json()

    assert [row["reason"] for row in asyncio.run(poll())["channels"]] == ["gateway_lost"]


@pytest.mark.parametrize("query", ["from_ns=5&to_ns=5", "buckets=0", "from_ns=-1", "to_ns=99999999999999999999"])
def test_a_bad_question_is_refused(api, query):
    assert get(api, f"/v1/channels/11/trend?{query}").status_code == 422


def test_what_is_not_known_now_is_said_in_words_and_is_no_empty_page(model):
    def away(*_):
        raise StoreBusyError("InfluxDB does not answer")

    principals = (Principal(name="v", role=Role.VIEWER, token_sha256=hash_token("viewer-token")),)
    api = build_api(replace(model, trend=answer_of(away), not_ready_because=lambda: "reads Kafka"), principals)
    answer = get(api, "/v1/channels/11/trend")
    assert (answer.status_code, answer.json()) == (503, {"detail": "InfluxDB does not answer"})
    for path in ("latest", "completeness", "quarantine", "health"):
        answer = get(api, f"/v1/{path}")
        assert (answer.status_code, answer.json()) == (503, {"detail": "reads Kafka"}), path
