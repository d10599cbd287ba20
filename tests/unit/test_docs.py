"""The documentation says what the code is: tables, links, `make` words.

Run as a program, this file writes the tables of docs/glossary.md anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.alarm import AlarmState
from contracts.fleet import LifecycleState
from contracts.quality import REASONS, Level, Reason
from contracts.quantity import QUANTITIES

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
DESIGN_WORDS = """
frame pdu reading observation payload record score point condition alarm notification
city district site gateway bus node channel
batch epoch spool birth death rebirth bdSeq seq alias watermark lateness set-point deadband on-delay off-delay
phenomenon+time received+time stored+time event+time gap+ledger PUBACK acknowledgement,+end+to+end latched shelved
suppressed+by+design out+of+service
"""
"""Words of design.md, sections 3 to 6; `+` stands for a space."""
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def quantities_table() -> str:
    """The quantity table as Markdown."""
    rows = [
        f"| `{row.name}` | {row.title} | `{row.unit}` | {row.unit_symbol} "
        f"| {row.plausible_min:,.0f} to {row.plausible_max:,.0f} |"
        for row in QUANTITIES.values()
    ]
    return "\n".join(["| name | quantity | unit (UCUM) | shown as | plausible range |", "|---|---|---|---|---|", *rows])


def reasons_table() -> str:
    """The table of quality reasons as Markdown."""
    rows = [
        f"| {int(reason)} | `{reason.wire_name}` | {row.level} | {int(row.sparkplug)} | {row.text} |"
        for reason, row in REASONS.items()
    ]
    return "\n".join(["| code | name | level | Sparkplug `Quality` | text |", "|---|---|---|---|---|", *rows])


TABLES = {"quantities": quantities_table, "reasons": reasons_table}


def replace_tables(text: str) -> str:
    """The glossary with each table between its markers made anew."""
    for name, make in TABLES.items():
        pattern = rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)"
        table = make()
        text, count = re.subn(
            pattern, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL
        )
        assert count == 1, f"docs/glossary.md has {count} places for the table {name!r}"
    return text


def words_of(text: str) -> dict[str, str]:
    """The words of the glossary's tables of two columns, with their sentences."""
    rows = re.findall(r"^\| ([^|`]+?) \| ([^|]+?) \|$", text, re.MULTILINE)
    return {word: sentence for word, sentence in rows if word != "word"}


def slug(heading: str) -> str:
    """The anchor that a Markdown page gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links_of(text: str) -> list[str]:
    """Targets of links and pictures, in Markdown or HTML, outside of code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"", prose)


def test_the_tables_of_the_glossary_are_what_contracts_says():
    text = GLOSSARY.read_text(encoding="utf-8")
    assert text == replace_tables(text), "docs/glossary.md is old: run `.venv/bin/python tests/unit/test_docs.py`"


def test_the_tables_name_every_quantity_and_every_reason():
    text = GLOSSARY.read_text(encoding="utf-8")
    for name in [*QUANTITIES, *(reason.wire_name for reason in Reason)]:
        assert f"| `{name}` |" in text


def test_the_glossary_has_the_words_of_the_design_and_of_the_state_tables():
    words = words_of(GLOSSARY.read_text(encoding="utf-8"))
    wanted = {word.replace("+", " ") for word in DESIGN_WORDS.split()}
    wanted |= {state.value.replace("_", "-") for state in AlarmState}
    wanted |= {state.value for state in LifecycleState} | {level.value for level in Level}
    assert wanted - set(words) == set(), "each of these needs a row with one sentence in docs/glossary.md"


def test_each_word_of_the_glossary_has_one_row_and_one_sentence():
    text = GLOSSARY.read_text(encoding="utf-8")
    rows = [word for word, _ in re.findall(r"^\| ([^|`]+?) \| ([^|]+?) \|$", text, re.MULTILINE) if word != "word"]
    assert sorted(rows) == sorted(set(rows))
    for word, sentence in words_of(text).items():
        assert sentence.endswith("."), f"{word}: {sentence}"
        assert sentence[0].isupper() or sentence[0].isdigit(), f"{word}: {sentence}"


def test_modules_that_the_glossary_names_exist():
    for name in re.findall(r"`(contracts(?:\.\w+)+)`", GLOSSARY.read_text(encoding="utf-8")):
        path = ROOT.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"docs/glossary.md names {name}"


@each_page
def test_every_relative_link_points_to_a_file_and_heading_that_exist(page):
    broken = []
    for target in (first or second for first, second in links_of(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in headings_of(there)):
            broken.append(target)
    assert not broken, f"{page.relative_to(ROOT)} links to nothing: {broken}"


def headings_of(page: Path) -> set[str]:
    if page.suffix != ".md":
        return set()
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)}


@each_page
def test_every_make_word_that_a_page_names_exists(page):
    words = set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = make_words_of(page.read_text(encoding="utf-8"))
    assert named <= words, f"{page.name} names make {sorted(named - words)}; the Makefile has {sorted(words)}"


def make_words_of(text: str) -> set[str]:
    """Words after `make` in code: in backquotes or at the start of a line of a code block."""
    code = re.findall(r"`(make [^`\n]*)`", text)
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        code += re.findall(r"^(?:\$ )?(make [^\n#]*)", block, re.MULTILINE)
    return {word for line in code for word in re.findall(r"(?<= )([a-z][a-z-]*)(?=\s|$)", line)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run `make test` then", {"test"}),
        ("```sh\nmake run\n$ make bench ARGS=--short  # a while\n```", {"run", "bench"}),
        ("`make`", set()),
        ("we make progress", set()),
        ("`make lint types`", {"lint", "types"}),
    ],
)
def test_the_search_for_make_words_itself_finds_them(text, words):
    assert make_words_of(text) == words


def test_the_search_for_links_itself_finds_them():
    text = '[a](b.md#c) ![p](q.png "title") <img src="r.svg"> `[no](x)` [web](https://example.org)'
    assert [first or second for first, second in links_of(text)] == ["b.md#c", "q.png", "r.svg", "https://example.org"]


if __name__ == "__main__":
    GLOSSARY.write_text(replace_tables(GLOSSARY.read_text(encoding="utf-8")), encoding="utf-8")
