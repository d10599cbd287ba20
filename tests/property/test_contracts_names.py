"""Topics and identifiers: what parses formats back, and nothing else parses."""

from __future__ import annotations

import contextlib
import re
import string

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts.errors import TopicError
from contracts.identifiers import Identifier, format_metric_name, is_identifier, parse_metric_name
from contracts.sparkplug.topic import MessageType, StateTopic, Topic, parse_topic

elements = st.text(st.characters(codec="utf-8", exclude_characters="+/#\0"), min_size=1, max_size=20)
INNER = string.ascii_lowercase + string.digits + "._-"
EDGES = string.ascii_lowercase + string.digits
identifiers = st.text(EDGES, min_size=1, max_size=1) | st.builds(
    lambda first, inner, last: first + inner + last,
    st.sampled_from(EDGES),
    st.text(INNER, max_size=62),
    st.sampled_from(EDGES),
)
almost = st.text(st.sampled_from(INNER + "A/ \nä+#"), max_size=70) | st.text(max_size=10)
IDENTIFIER = TypeAdapter(Identifier)


@st.composite
def topics(draw):
    if draw(st.booleans()):
        return StateTopic(draw(elements))
    kind = draw(st.sampled_from(MessageType))
    group = draw(elements.filter(lambda text: text != "STATE"))
    return Topic(kind, group, draw(elements), draw(elements) if kind.is_of_device else None)


@given(topics())
def test_a_topic_formats_and_parses_back(topic):
    assert parse_topic(str(topic)) == topic


@given(st.lists(st.sampled_from(["spBv1.0", "STATE", "NBIRTH", "DDATA", "g", "", "+", "#", "x y"]), max_size=7))
def test_any_text_of_topic_pieces_is_refused_or_formats_back_to_itself(pieces):
    text = "/".join(pieces)
    with contextlib.suppress(TopicError):
        assert str(parse_topic(text)) == text
        assert not set("+#\0") & set(text)


@given(st.text(max_size=60))
def test_any_text_is_refused_or_formats_back_to_itself(text):
    for candidate in (text, f"spBv1.0/{text}", f"spBv1.0/g/NDATA/{text}", f"spBv1.0/STATE/{text}"):
        with contextlib.suppress(TopicError):
            assert str(parse_topic(candidate)) == candidate


@given(identifiers)
def test_an_identifier_is_a_topic_element_a_file_name_and_a_url_path_element(text):
    assert is_identifier(text)
    assert IDENTIFIER.validate_python(text) == text
    assert str(StateTopic(text)).endswith(text)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)  # unreserved in a URL (RFC 3986, section 2.3)
    assert text not in {".", ".."}


@given(almost | identifiers.map(lambda text: text + "\n") | identifiers.map(str.upper))
@example("a\n")
def test_the_function_and_the_typed_models_agree_on_every_text(text):
    try:
        IDENTIFIER.validate_python(text)
    except ValidationError:
        assert not is_identifier(text)
    else:
        assert is_identifier(text)


@given(identifiers, identifiers)
def test_a_metric_name_formats_and_parses_back(node_id, quantity):
    assert parse_metric_name(format_metric_name(node_id, quantity)) == (node_id, quantity)


@given(almost, almost)
def test_a_metric_name_of_anything_else_parses_to_none(node_id, quantity):
    parsed = parse_metric_name(f"{node_id}/{quantity}")
    assert (parsed is None) is not (is_identifier(node_id) and is_identifier(quantity))
