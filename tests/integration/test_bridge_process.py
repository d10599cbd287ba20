"""The bridge process on a real broker and a real Kafka: what it writes, what it tells gateways, and who is killed."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from aiokafka import AIOKafkaProducer

from contracts import uplink
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import GATEWAY_STATUS, OBSERVATIONS, UPLINK_COMMANDS, partition_of
from contracts.record_message import ObservationMessage, decode_observations
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommand, UplinkCommandKind
from tests.running_kafka import RunningKafka, running_kafka

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.needs_kafka]
DEADLINE_S = 20.0
STOPPED_WITHIN_S = 3.0
PARTITIONS = 4
EPOCH = 7
DISTRICT_OF = {"gw-1": "harbour", "gw-2": "harbour", "gw-3": "hill"}


def wait_until(what: str, check: Callable[[], object], within_s: float = DEADLINE_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def fleet() -> FleetSnapshot:
    """A channel for each gateway: 1, 2 and 3."""
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": each, "name": each} for each in ("harbour", "hill")],
            "sites": [
                {
                    "site_id": f"s-{each}",
                    "district_id": each,
                    "domain": "gas",
                    "name": each,
                    "latitude": 1,
                    "longitude": 2,
                }
                for each in ("harbour", "hill")
            ],
            "gateways": [
                {"gateway_id": gateway, "district_id": district, "name": gateway}
                for gateway, district in DISTRICT_OF.items()
            ],
            "nodes": [
                {
                    "node_id": f"n-{gateway}",
                    "gateway_id": gateway,
                    "bus_id": "b",
                    "site_id": f"s-{district}",
                    "model": "m",
                }
                for gateway, district in DISTRICT_OF.items()
            ],
            "channels": [
                {"channel_id": int(gateway[-1]), "node_id": f"n-{gateway}", "quantity": "methane_lel"}
                for gateway in DISTRICT_OF
            ],
            "conditions": [],
        }
    )


class Broker:
    """A mosquitto without passwords; it can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen([program, "-c", str(self._configuration)], stderr=subprocess.DEVNULL)
        wait_until("mosquitto listens", lambda: accepts(self.port))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.kill()


@dataclass
class BridgeProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def says(self, words: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3_000:]
        return words in self.log.read_text()

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> float:
        """SIGTERM; how long it took."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0, self.log.read_text()[-3_000:]
        return time.monotonic() - start_s


Start = Callable[..., BridgeProcess]


@pytest.fixture
def start_bridge(kafka: RunningKafka, broker: Broker, tmp_path: Path) -> Iterator[Start]:
    running: list[BridgeProcess] = []

    def start(
        host_id: str = "citysense",
        districts: tuple[str, ...] = (),
        queue_rows: int = 500_000,
        kafka_address: str = kafka.address,
        mqtt_settings: str = f"port = {broker.port}",
        says: str = "broker_connected",
        partitions: int = PARTITIONS,
    ) -> BridgeProcess:
        folder = tmp_path / host_id
        (folder / "kept").mkdir(parents=True)
        (folder / "token").write_text("no registry answers: the fleet on disk counts")
        (folder / "kept/fleet.json").write_text(fleet().model_dump_json())
        (folder / "bridge.toml").write_text(
            'directory = "kept"\n'
            f'[mqtt]\n{mqtt_settings}\nhost_id = "{host_id}"\ndistricts = {json.dumps(districts)}\n'
            f'[kafka]\nservers = ["{kafka_address}"]\npartitions = {partitions}\n'
            "request_timeout_s = 2.0\nretry_max_s = 1.0\n"
            f"[gather]\nqueue_rows = {queue_rows}\n"
            '[registry]\nurl = "http://127.0.0.1:9"\ntoken_file = "token"\n'
        )
        command = [sys.executable, "-m", "stream_processor.cli", "bridge", "--config", str(folder / "bridge.toml")]
        with (folder / "log").open("w") as log:
            bridge = BridgeProcess(subprocess.Popen(command, stdout=log, stderr=log), folder / "log")
        running.append(bridge)
        wait_until(f"the bridge says {says}", lambda: bridge.says(says))
        return bridge

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


@dataclass
class Voice:
    """An edge node as our agents are: it says, and notes the NCMDs that it gets."""

    gateway: str
    client: mqtt.Client
    ncmds: list[Payload] = field(default_factory=list)
    seq: int = -1

    @property
    def district(self) -> str:
        return DISTRICT_OF[self.gateway]

    def birth(self) -> None:
        self.seq = -1
        numbers = [
            Metric(name=name, datatype=DataType.UINT64, value=n) for name, n in (("bdSeq", 0), (uplink.EPOCH, EPOCH))
        ]
        self._say("NBIRTH", "", numbers)
        channel = f"n-{self.gateway}/methane_lel"
        self._say("DBIRTH", "/b", [Metric(name=channel, alias=5, timestamp_ms=1, datatype=DataType.DOUBLE, value=0.0)])

    def data(self, batch: int, values: int = 1) -> None:
        """A batch whose readings all are its number."""
        now_ms = time.time_ns() // 1_000_000
        metrics = [
            Metric(alias=5, timestamp_ms=now_ms, datatype=DataType.DOUBLE, value=float(batch)) for _ in range(values)
        ]
        for name, number in ((uplink.EPOCH, EPOCH), (uplink.BATCH, batch)):
            metrics.append(Metric(name=name, datatype=DataType.UINT64, value=number))
        self._say("DDATA", "/b", metrics)

    def told(self, name: str) -> list[object]:
        return [metric.value for payload in self.ncmds for metric in payload.metrics if metric.name == name]

    def _say(self, kind: str, device: str, metrics: list[Metric]) -> None:
        self.seq = (self.seq + 1) % 256
        octets = encode_payload(Payload(time.time_ns() // 1_000_000, metrics, self.seq))
        self.client.publish(f"spBv1.0/{self.district}/{kind}/{self.gateway}{device}", octets, qos=1)


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[[str], Voice]]:
    with contextlib.ExitStack() as stack:

        def open_voice(gateway: str) -> Voice:
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=gateway, protocol=mqtt.MQTTv5)
            voice = Voice(gateway, client)
            client.on_message = lambda _c, _u, message: voice.ncmds.append(decode_payload(message.payload))
            client.max_queued_messages_set(0)
            client.connect("127.0.0.1", broker.port)
            client.subscribe(f"spBv1.0/{voice.district}/NCMD/{gateway}")
            client.loop_start()
            stack.callback(client.loop_stop)
            stack.callback(client.disconnect)
            return voice

        yield open_voice


def states(broker: Broker, *host_ids: str) -> dict[str, bool]:
    """The retained STATE of hosts."""
    seen: dict[str, bool] = {}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: seen.update(
        {message.topic.rpartition("/")[2]: json.loads(message.payload)["online"]}
    )
    client.connect("127.0.0.1", broker.port)
    client.subscribe("spBv1.0/STATE/+")
    client.loop_start()
    wait_until("a STATE of each host", lambda: set(host_ids) <= set(seen))
    client.disconnect()
    client.loop_stop()
    return seen


class Log:
    """What stands on `observations` from now on."""

    def __init__(self, kafka: RunningKafka) -> None:
        self._kafka = kafka
        self._before = {(row[0], row[1]) for row in kafka.read_all(OBSERVATIONS)}

    def messages(self) -> list[tuple[int, ObservationMessage]]:
        rows = self._kafka.read_all(OBSERVATIONS)
        return [
            (row[0], decode_observations(row[3])) for row in rows if row[3] and (row[0], row[1]) not in self._before
        ]

    def batches(self, gateway: str) -> list[int]:
        """The batch numbers of a gateway in the order of its partition."""
        partition = partition_of(gateway, PARTITIONS)
        identities = [
            batch
            for place, message in self.messages()
            if place == partition
            for batch in message.record.batches
            if batch
        ]
        return [each.batch for each in identities if each.gateway_id == gateway]


def statuses(kafka: RunningKafka) -> dict[str, dict[str, object]]:
    """The newest status of each gateway."""
    rows = kafka.read_all(GATEWAY_STATUS)
    return {key.decode(): {**json.loads(value), "partition": place} for place, _, key, value in rows if key and value}


def command(kafka: RunningKafka, kind: UplinkCommandKind, gateway: str, *flat: int) -> None:
    message = UplinkCommand(
        kind=kind, district_id=DISTRICT_OF[gateway], gateway_id=gateway, epoch=EPOCH, flat_ranges=flat
    )

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
        await producer.start()
        partition = partition_of(gateway, PARTITIONS)
        await producer.send_and_wait(UPLINK_COMMANDS.name, message.model_dump_json().encode(), partition=partition)
        await producer.stop()

    asyncio.run(send())


def without_repetition(numbers: list[int]) -> list[int]:
    """In order of the first time."""
    return list(dict.fromkeys(numbers))


def test_what_gateways_say_stands_on_their_partition_and_idle_partitions_go_on_in_time(kafka, start_bridge, connect):
    log = Log(kafka)
    bridge = start_bridge()
    voices = [connect(gateway) for gateway in DISTRICT_OF]
    for voice in voices:
        voice.birth()
        for batch in range(1, 21):
            voice.data(batch, values=100)
    voices[0].client.publish("spBv1.0/harbour/DDATA/gw-unknown/b", b"\x08\x01")
    wait_until("all is written", lambda: all(log.batches(gateway) == list(range(1, 21)) for gateway in DISTRICT_OF))
    messages = log.messages()
    for place, message in messages:
        rows = message.record
        for index, batch in enumerate(rows.batches):
            assert isinstance(batch, BatchIdentity)
            assert place == partition_of(batch.gateway_id, PARTITIONS)
            mine = rows.batch_index == index
            assert rows.channel_id[mine].tolist() == [int(batch.gateway_id[-1])] * 100
            assert rows.value[mine].tolist() == [float(batch.batch)] * 100
    written = sum(len(message.record) for _, message in messages)
    assert written == 3 * 20 * 100
    assert len([1 for _, message in messages if len(message.record)]) <= 3 * 20 / 3, "readings are not gathered"
    bad = [(place, each[1]) for place, message in messages for each in message.quarantined]
    assert [(place, each.reason) for place, each in bad] == [
        (partition_of("gw-unknown", PARTITIONS), "unknown_gateway")
    ]
    idle = set(range(PARTITIONS)) - {partition_of(gateway, PARTITIONS) for gateway in (*DISTRICT_OF, "gw-unknown")}
    assert idle, "the test needs an idle partition"
    quiet = min(idle)
    wait_until("time goes on", lambda: len([1 for place, _ in log.messages() if place == quiet]) >= 3)
    times = [message.made_ns for place, message in log.messages() if place == quiet]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.9e9 < step < 3e9 for step in steps), steps
    told = statuses(kafka)
    assert {gateway: told[gateway]["is_online"] for gateway in DISTRICT_OF} == dict.fromkeys(DISTRICT_OF, True)
    assert told["gw-1"]["epoch"] == EPOCH
    assert told["gw-1"]["partition"] == partition_of("gw-1", PARTITIONS)
    assert bridge.stop() < STOPPED_WITHIN_S
    assert not any(statuses(kafka)[gateway]["is_online"] for gateway in DISTRICT_OF), "a stopped bridge hears nobody"


def test_commands_become_ncmds_and_only_who_is_online_is_asked_to_send_again(kafka, start_bridge, connect):
    bridge = start_bridge()
    wait_until("commands are followed", lambda: bridge.says("commands_followed"))
    one, two = connect("gw-1"), connect("gw-2")
    one.birth()
    wait_until("gw-1 is online", lambda: statuses(kafka).get("gw-1", {}).get("is_online"))
    command(kafka, UplinkCommandKind.RESEND, "gw-1", 4, 6)
    command(kafka, UplinkCommandKind.RESEND, "gw-2", 4, 6)
    command(kafka, UplinkCommandKind.ACKNOWLEDGE, "gw-1", 1, 3, 9, 9)
    command(kafka, UplinkCommandKind.ACKNOWLEDGE, "gw-2", 1, 2)
    wait_until("both are acknowledged", lambda: one.told(uplink.ACK_RANGES) and two.told(uplink.ACK_RANGES))
    assert one.told(uplink.ACK_RANGES) == [[1, 3, 9, 9]]
    assert one.told(uplink.ACK_EPOCH) == [EPOCH]
    assert two.told(uplink.ACK_RANGES) == [[1, 2]]
    wait_until("gw-1 is asked", lambda: one.told(uplink.RESEND_RANGES) == [[4, 6]])
    assert two.told(uplink.RESEND_RANGES) == [], "gw-2 was never born"


def test_kafka_killed_and_started_again_costs_no_batch_that_fits_and_what_does_not_fit_may_come_again(
    kafka, start_bridge, connect
):
    log = Log(kafka)
    start_bridge("harbour-host", ("harbour",))
    small = start_bridge("hill-host", ("hill",), queue_rows=20_000)
    doomed = start_bridge("doomed-host", ("nowhere",))
    one, three = connect("gw-1"), connect("gw-3")
    for voice in (one, three):
        voice.birth()
        voice.data(1)
    wait_until("the first are written", lambda: log.batches("gw-1") == [1] and log.batches("gw-3") == [1])
    kafka.kill()
    before_mb = small.resident_mb()
    for batch in range(2, 202):
        one.data(batch, values=20)
        three.data(batch, values=2_000)
    wait_until("all was heard", lambda: is_drained(one) and is_drained(three))
    wait_until("Kafka is missed", lambda: small.says("kafka_waiting"))
    assert small.resident_mb() - before_mb < 60, "400,000 readings of which 20,000 may wait"
    assert doomed.stop() < STOPPED_WITHIN_S
    kafka.start()
    wait_until("all of gw-1 is written", lambda: len(set(log.batches("gw-1"))) == 201, within_s=30)
    assert without_repetition(log.batches("gw-1")) == list(range(1, 202))
    wait_until("the rest was counted", lambda: re.search("shed_batches=1[0-9][0-9]", small.log.read_text()))
    missing = sorted(set(range(1, 202)) - set(log.batches("gw-3")))
    assert len(missing) > 100
    for batch in missing:
        three.data(batch)
    wait_until("what was sent again is written", lambda: set(range(1, 202)) <= set(log.batches("gw-3")))
    assert not one.told(uplink.ACK_RANGES), "nobody but the store job may acknowledge"
    command(kafka, UplinkCommandKind.ACKNOWLEDGE, "gw-1", 1, 201)
    wait_until("commands come again", lambda: one.told(uplink.ACK_RANGES) == [[1, 201]])


def is_drained(voice: Voice) -> bool:
    """Whether the broker has acknowledged all that was published."""
    return voice.client._out_packet == type(voice.client._out_packet)() and not voice.client._out_messages


def test_two_bridges_share_the_city_by_district_and_the_death_of_one_is_its_districts_own(
    kafka, broker, start_bridge, connect
):
    log = Log(kafka)
    start_bridge("harbour-host", ("harbour",))
    hill = start_bridge("hill-host", ("hill",))
    one, three = connect("gw-1"), connect("gw-3")
    for voice in (one, three):
        voice.birth()
        voice.data(1)
    wait_until("both are written", lambda: log.batches("gw-1") == [1] and log.batches("gw-3") == [1])
    assert states(broker, "harbour-host", "hill-host") == {"harbour-host": True, "hill-host": True}
    hill.process.kill()
    wait_until(
        "the will of the one speaks",
        lambda: states(broker, "harbour-host", "hill-host") == {"harbour-host": True, "hill-host": False},
    )
    three.data(2)
    one.data(2)
    wait_until("the other goes on", lambda: log.batches("gw-1") == [1, 2])
    assert log.batches("gw-3") == [1], "nobody hears the hill now: its agents keep what they have"


def test_it_stops_in_time_with_the_broker_gone(kafka, broker, start_bridge, connect):
    bridge = start_bridge()
    voice = connect("gw-1")
    voice.birth()
    wait_until("it is heard", lambda: statuses(kafka).get("gw-1", {}).get("is_online"))
    broker.kill()
    wait_until("nobody is heard", lambda: not statuses(kafka)["gw-1"]["is_online"])
    assert bridge.stop() < STOPPED_WITHIN_S
    broker.start()


def test_it_starts_and_stops_in_time_without_kafka_and_then_without_both(broker, start_bridge, connect):
    bridge = start_bridge(kafka_address=f"127.0.0.1:{free_port()}")
    wait_until("Kafka is missed", lambda: bridge.says("kafka_waiting"))
    assert bridge.stop() < STOPPED_WITHIN_S
    bridge = start_bridge("second-host", kafka_address=f"127.0.0.1:{free_port()}")
    voice = connect("gw-1")
    voice.birth()
    voice.data(1)
    broker.kill()
    wait_until("the broker is missed", lambda: bridge.says("broker_lost"))
    assert bridge.stop() < STOPPED_WITHIN_S
    broker.start()


def test_topics_with_another_number_of_partitions_are_an_error_of_the_start(start_bridge):
    bridge = start_bridge(partitions=PARTITIONS + 1)
    assert bridge.process.wait(DEADLINE_S) == 4
    assert f"has {PARTITIONS} partitions, the configuration says {PARTITIONS + 1}" in bridge.log.read_text()


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_certificates(folder: Path) -> None:
    """An authority, what it signed for the broker and for the bridge, and another authority."""
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("city", "elsewhere"):
        words = ("-days", "2", "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        openssl(folder, "req", "-x509", *new, *words)
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("broker", "citysense"):
        openssl(folder, "req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signer = ("-CA", "city.pem", "-CAkey", "city.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, "-out", f"{name}.pem")


def test_it_shows_its_certificate_and_trusts_only_the_authority_that_it_was_given(tmp_path, start_bridge):
    make_certificates(tmp_path)
    (tmp_path / "tls").mkdir()
    guarded = Broker(tmp_path / "tls")
    port = guarded.port
    (tmp_path / "tls/mosquitto.conf").write_text(
        f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\n"
        f"cafile {tmp_path}/city.pem\ncertfile {tmp_path}/broker.pem\n"
        f"keyfile {tmp_path}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n"
    )
    guarded.start()
    own = 'certificate_file = "../citysense.pem"\nkey_file = "../citysense.key"\n'
    try:
        trusting = f'port = {port}\nca_file = "../city.pem"\n{own}'
        assert start_bridge(mqtt_settings=trusting).stop() < STOPPED_WITHIN_S
        deceived = f'port = {port}\nca_file = "../elsewhere.pem"\n{own}'
        refusing = start_bridge("wary-host", mqtt_settings=deceived, says="CERTIFICATE_VERIFY_FAILED")
        assert not refusing.says("broker_connected")
    finally:
        guarded.kill()
