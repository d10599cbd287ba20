"""The Sparkplug B payload: Python values ↔ protocol-buffer bytes (Sparkplug 3.0, section 6.4).

`decode_payload` refuses bytes that are no payload at all. A metric that is wrong in itself (a type that does
not exist, a value in the wrong field) does not take the others with it: it comes with its `fault` and no value.

In data messages a metric may come without datatype; the birth's then counts, so the host passes what it knows
(`datatypes`, by alias). Without either, the wire field's own type is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import DecodeError

from contracts.errors import PayloadError
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import WIRE_FIELDS, DataType, from_wire, to_wire

MAX_PAYLOAD_BYTES: Final = 4 * 1024 * 1024
"""Larger payloads are refused before they are parsed: no gateway of a city sends 4 MiB at once."""
MAX_NESTING: Final = 8
"""Depth of templates in templates and of property sets in property sets."""
MAX_ELEMENTS: Final = 100_000
"""Metrics, properties, table cells and parameters of one payload together. 4 MiB of empty metrics would hold the
host for ten seconds; with this limit hostile bytes cost half a second at most, and 10,000 registers still fit."""

_UNTYPED: Final = MappingProxyType(
    {
        "int_value": DataType.UINT32,
        "long_value": DataType.UINT64,
        "float_value": DataType.FLOAT,
        "double_value": DataType.DOUBLE,
        "boolean_value": DataType.BOOLEAN,
        "string_value": DataType.STRING,
        "bytes_value": DataType.BYTES,
        "dataset_value": DataType.DATASET,
        "template_value": DataType.TEMPLATE,
        "propertyset_value": DataType.PROPERTY_SET,
        "propertysets_value": DataType.PROPERTY_SET_LIST,
    }
)
"""What a value without data type is: the type of the field that it came in."""
_DATATYPES: Final = MappingProxyType({datatype.value: datatype for datatype in DataType})


@dataclass(slots=True)
class Property:
    """A property of a metric. A value of None is the wire's `is_null`."""

    datatype: DataType
    value: object = None


@dataclass(slots=True)
class DataSet:
    """A table: column names, column types, rows of values."""

    columns: list[str]
    types: list[DataType]
    rows: list[list[object]]


@dataclass(slots=True)
class Parameter:
    """A parameter of a template."""

    name: str
    datatype: DataType
    value: object = None


@dataclass(slots=True)
class Template:
    """A template definition or instance."""

    metrics: list[Metric]
    version: str | None = None
    parameters: list[Parameter] = field(default_factory=list)
    template_ref: str | None = None
    is_definition: bool | None = None


@dataclass(slots=True)
class MetaData:
    """Metadata of a metric."""

    is_multi_part: bool | None = None
    content_type: str | None = None
    size: int | None = None
    seq: int | None = None
    file_name: str | None = None
    file_type: str | None = None
    md5: str | None = None
    description: str | None = None


@dataclass(slots=True)
class Metric:
    """One metric. A value of None is the wire's `is_null`."""

    name: str | None = None
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: DataType | None = None
    value: object = None
    is_historical: bool = False
    is_transient: bool = False
    properties: dict[str, Property] = field(default_factory=dict)
    metadata: MetaData | None = None
    fault: str | None = None
    """Decoding only: why this metric has no value although it is not null."""


@dataclass(slots=True)
class Payload:
    """One Sparkplug B message body."""

    timestamp_ms: int | None = None
    metrics: list[Metric] = field(default_factory=list)
    seq: int | None = None
    uuid: str | None = None
    body: bytes | None = None


def encode_payload(payload: Payload, *, with_datatypes: bool = True) -> bytes:
    """Encodes a payload, fields in ascending order.

    Args:
        payload: each metric that has a value has its data type.
        with_datatypes: False for data messages and commands: Sparkplug 3.0, section 6.4.6, wants data types in
            births only.

    Raises:
        PayloadError: a value is none of its type.
    """
    message = wire.Payload()
    _set_present(message, timestamp=payload.timestamp_ms, seq=payload.seq, uuid=payload.uuid, body=payload.body)
    try:
        for metric in payload.metrics:
            encoded = message.metrics.add()
            _encode_metric(metric, encoded, 0)
            if not with_datatypes:
                encoded.ClearField("datatype")
    except UnicodeEncodeError as error:
        raise PayloadError(f"a text that is not Unicode: {error}") from error
    return message.SerializeToString(deterministic=True)


def decode_payload(
    payload: bytes,
    datatypes: Mapping[int, DataType] = MappingProxyType({}),
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> Payload:
    """Decodes a payload.

    Args:
        payload: the MQTT payload.
        datatypes: data types by alias, from the births, for metrics that carry none.
        max_bytes: larger payloads are refused.

    Raises:
        PayloadError: not a Sparkplug B payload, truncated, oversized or of more than MAX_ELEMENTS metrics.
    """
    if len(payload) > max_bytes:
        raise PayloadError(f"{len(payload)} bytes are more than the {max_bytes} that are taken")
    message = wire.Payload()
    try:
        message.ParseFromString(payload)
    except (DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"{len(payload)} bytes are no Sparkplug B payload: {error}") from error
    allowance = _Allowance()
    allowance.take(len(message.metrics))
    return Payload(
        timestamp_ms=_present(message, "timestamp"),
        metrics=[_decode_metric(metric, datatypes, 0, allowance) for metric in message.metrics],
        seq=_present(message, "seq"),
        uuid=_present(message, "uuid"),
        body=message.body if message.HasField("body") else None,
    )


class _Allowance:
    """How many elements of a payload may still be decoded."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ELEMENTS

    def take(self, count: int) -> None:
        if count > self.left:
            raise PayloadError(f"the payload has more than {MAX_ELEMENTS} metrics, properties, cells and parameters")
        self.left -= count


# Generated messages are reached by field name, so their static type says nothing here.


def _set_present(message: Any, **fields: object) -> None:  # noqa: ANN401
    for name, value in fields.items():
        if value is not None:
            try:
                setattr(message, name, value)
            except (TypeError, ValueError) as error:
                raise PayloadError(f"{name}: {value!r}: {error}") from error


def _present(message: Any, name: str) -> Any:  # noqa: ANN401
    """A number, a boolean or a text, or None if it is not there."""
    return _unicode(getattr(message, name)) if message.HasField(name) else None


def _unicode(value: Any) -> Any:  # noqa: ANN401
    """The value itself. protobuf gives a text that is not UTF-8 as bytes: that is refused."""
    if isinstance(value, bytes):
        raise PayloadError(f"the text {value[:40]!r} is not UTF-8")
    return value


def _encode_metric(metric: Metric, message: wire.Metric, depth: int) -> None:
    datatype = metric.datatype
    _set_present(message, name=metric.name, alias=metric.alias, timestamp=metric.timestamp_ms, datatype=datatype)
    if metric.is_historical:
        message.is_historical = True
    if metric.is_transient:
        message.is_transient = True
    if metric.metadata is not None:
        _set_present(message.metadata, **{name: getattr(metric.metadata, name) for name in MetaData.__slots__})
        message.metadata.SetInParent()
    if metric.properties:
        _encode_properties(metric.properties, message.properties, 0)
    if metric.value is None:
        message.is_null = True
    elif datatype is None:
        raise PayloadError(f"metric {metric.name or metric.alias!r} has a value but no datatype")
    else:
        _encode_value(datatype, metric.value, message, depth)


def _encode_value(datatype: DataType, value: object, message: wire.Metric, depth: int) -> None:
    if datatype is DataType.DATASET:
        _encode_dataset(_expect(value, DataSet), message.dataset_value)
    elif datatype is DataType.TEMPLATE:
        _encode_template(_expect(value, Template), message.template_value, depth)
    else:
        _set_scalar(datatype, value, message)


def _set_scalar(datatype: DataType, value: object, message: Any) -> None:  # noqa: ANN401
    field_name = WIRE_FIELDS.get(datatype)
    if field_name is None or (field_name == "bytes_value" and not isinstance(message, wire.Metric)):
        raise PayloadError(f"a {datatype.name} cannot stand here")
    setattr(message, field_name, to_wire(datatype, value))


def _expect(value: object, wanted: type[Any]) -> Any:  # noqa: ANN401
    if not isinstance(value, wanted):
        raise PayloadError(f"{value!r} is no {wanted.__name__}")
    return value


def _encode_properties(properties: Mapping[str, Property], message: wire.PropertySet, depth: int) -> None:
    if depth >= MAX_NESTING:
        raise PayloadError(f"property sets are nested deeper than {MAX_NESTING}")
    for key, item in properties.items():
        message.keys.append(key)
        value = message.values.add()
        value.type = item.datatype
        if item.value is None:
            value.is_null = True
        elif item.datatype is DataType.PROPERTY_SET:
            _encode_properties(_expect(item.value, dict), value.propertyset_value, depth + 1)
            value.propertyset_value.SetInParent()
        elif item.datatype is DataType.PROPERTY_SET_LIST:
            value.propertysets_value.SetInParent()
            for inner in _expect(item.value, list):
                _encode_properties(_expect(inner, dict), value.propertysets_value.propertyset.add(), depth + 1)
        else:
            _set_scalar(item.datatype, item.value, value)


def _encode_dataset(table: DataSet, message: wire.DataSet) -> None:
    if len(table.columns) != len(table.types):
        raise PayloadError(f"a data set of {len(table.columns)} columns has {len(table.types)} types")
    message.num_of_columns = len(table.columns)
    message.columns.extend(table.columns)
    message.types.extend(table.types)
    for row in table.rows:
        if len(row) != len(table.columns):
            raise PayloadError(f"a row of {len(row)} values in a data set of {len(table.columns)} columns")
        elements = message.rows.add().elements
        for datatype, value in zip(table.types, row, strict=True):
            element = elements.add()
            if value is not None:
                _set_scalar(datatype, value, element)


def _encode_template(template: Template, message: wire.Template, depth: int) -> None:
    if depth >= MAX_NESTING:
        raise PayloadError(f"templates are nested deeper than {MAX_NESTING}")
    message.SetInParent()
    _set_present(
        message,
        version=template.version,
        template_ref=template.template_ref,
        is_definition=template.is_definition,
    )
    for metric in template.metrics:
        _encode_metric(metric, message.metrics.add(), depth + 1)
    for parameter in template.parameters:
        inner = message.parameters.add()
        inner.name = parameter.name
        inner.type = parameter.datatype
        if parameter.value is not None:
            _set_scalar(parameter.datatype, parameter.value, inner)


def _decode_metric(
    message: wire.Metric, datatypes: Mapping[int, DataType], depth: int, allowance: _Allowance
) -> Metric:
    has = message.HasField  # of each metric of each payload: attribute look-ups count here
    alias = message.alias if has("alias") else None
    metric = Metric(
        alias=alias,
        timestamp_ms=message.timestamp if has("timestamp") else None,
        is_historical=message.is_historical,
        is_transient=message.is_transient,
    )
    try:
        if has("name"):
            metric.name = _unicode(message.name)
        if has("properties"):
            metric.properties = _decode_properties(message.properties, 0, allowance)
        if has("metadata"):
            metric.metadata = MetaData(**{name: _present(message.metadata, name) for name in MetaData.__slots__})
        field_name = message.WhichOneof("value")
        if has("datatype"):
            metric.datatype = _datatype(message.datatype)
        else:
            metric.datatype = _implied_datatype(field_name, datatypes.get(alias) if alias is not None else None)
        if not message.is_null:
            metric.value = _decode_value(message, field_name, metric.datatype, depth, allowance)
    except PayloadError as error:
        metric.fault = str(error)
    return metric


def _implied_datatype(field_name: str | None, from_birth: DataType | None) -> DataType | None:
    if from_birth is not None:
        return from_birth
    return None if field_name is None else _UNTYPED[field_name]


def _datatype(number: int) -> DataType:
    datatype = _DATATYPES.get(number)
    if datatype is None:
        raise PayloadError(f"{number} is no Sparkplug data type")
    return datatype


def _decode_value(
    message: wire.Metric, field_name: str | None, datatype: DataType | None, depth: int, allowance: _Allowance
) -> object:
    if field_name is None:
        raise PayloadError("neither a value nor is_null")
    assert datatype is not None  # a value without datatype got its field's own type
    if datatype is DataType.DOUBLE and field_name == "double_value":
        return message.double_value
    decode = _STRUCTURED.get(field_name)
    if decode is None:
        return from_wire(datatype, field_name, getattr(message, field_name))
    if _UNTYPED[field_name] is not datatype:
        raise PayloadError(f"a {datatype.name} came as {field_name}")
    return decode(getattr(message, field_name), depth, allowance)


def _decode_properties(message: wire.PropertySet, depth: int, allowance: _Allowance) -> dict[str, Property]:
    if len(message.keys) != len(message.values):
        raise PayloadError(f"{len(message.keys)} property keys with {len(message.values)} values")
    if depth >= MAX_NESTING:
        raise PayloadError(f"property sets are nested deeper than {MAX_NESTING}")
    allowance.take(len(message.keys))
    return {
        _unicode(key): _decode_property(value, depth, allowance)
        for key, value in zip(message.keys, message.values, strict=True)
    }


def _decode_property(message: wire.PropertyValue, depth: int, allowance: _Allowance) -> Property:
    field_name = message.WhichOneof("value")
    datatype = _typed_or_untyped(message, field_name)
    if message.is_null or field_name is None:
        return Property(datatype)
    if field_name not in {"propertyset_value", "propertysets_value"}:
        return Property(datatype, from_wire(datatype, field_name, getattr(message, field_name)))
    if _UNTYPED[field_name] is not datatype:
        raise PayloadError(f"a {datatype.name} came as {field_name}")
    if field_name == "propertyset_value":
        return Property(datatype, _decode_properties(message.propertyset_value, depth + 1, allowance))
    inner = message.propertysets_value.propertyset
    allowance.take(len(inner))
    return Property(datatype, [_decode_properties(each, depth + 1, allowance) for each in inner])


def _typed_or_untyped(message: wire.PropertyValue | wire.Template.Parameter, field_name: str | None) -> DataType:
    """The type of a property or parameter; only births must name it (Sparkplug 3.0, section 6.4.12)."""
    if message.HasField("type") or field_name is None:
        return _datatype(message.type)
    return _UNTYPED[field_name]


def _decode_dataset(message: wire.DataSet, depth: int, allowance: _Allowance) -> DataSet:  # noqa: ARG001
    types = [_datatype(number) for number in message.types]
    if len(types) != len(message.columns):
        raise PayloadError(f"a data set of {len(message.columns)} columns has {len(types)} types")
    allowance.take(len(message.rows) * max(1, len(types)))
    rows = []
    for row in message.rows:
        if len(row.elements) != len(types):
            raise PayloadError(f"a row of {len(row.elements)} values in a data set of {len(types)} columns")
        rows.append([_decode_element(each, kind) for each, kind in zip(row.elements, types, strict=True)])
    return DataSet([_unicode(column) for column in message.columns], types, rows)


def _decode_element(message: wire.DataSet.DataSetValue, datatype: DataType) -> object:
    field_name = message.WhichOneof("value")
    return None if field_name is None else from_wire(datatype, field_name, getattr(message, field_name))


def _decode_template(message: wire.Template, depth: int, allowance: _Allowance) -> Template:
    if depth >= MAX_NESTING:
        raise PayloadError(f"templates are nested deeper than {MAX_NESTING}")
    allowance.take(len(message.metrics) + len(message.parameters))
    metrics = [_decode_metric(metric, {}, depth + 1, allowance) for metric in message.metrics]
    parameters = []
    for parameter in message.parameters:
        field_name = parameter.WhichOneof("value")
        datatype = _typed_or_untyped(parameter, field_name)
        value = None if field_name is None else from_wire(datatype, field_name, getattr(parameter, field_name))
        parameters.append(Parameter(_unicode(parameter.name), datatype, value))
    return Template(
        metrics=metrics,
        version=_present(message, "version"),
        parameters=parameters,
        template_ref=_present(message, "template_ref"),
        is_definition=_present(message, "is_definition"),
    )


_STRUCTURED: Final[Mapping[str, Callable[[Any, int, _Allowance], object]]] = MappingProxyType(
    {"dataset_value": _decode_dataset, "template_value": _decode_template}
)
