"""The claims agree with their records, `fastweights verify` says so, and it goes red for everything that does not."""

import json
import math
import re
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from textwrap import dedent

import pytest
import sympy
from matplotlib.figure import Figure

from fastweights import claims, cli
from fastweights.claims.base import Claim, Evidence, Verdict, above, below, claim, close, fact, run
from fastweights.errors import UsageError

ALL = [each for group in claims.sections().values() for each in group]
PAGE = Path(__file__).parent.parent / "docs" / "claims.md"
TRUE, FALSE = fact("2 > 1", 2 > 1), fact("1 > 2", 1 > 2)


@pytest.fixture
def verify(monkeypatch, capsys):
    """The command as a user gives it; returns the exit code, standard output and standard error."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["fastweights", "verify", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command line sets its own
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def section(monkeypatch, tmp_path):
    """Put a section's file, with the given text, among those that are found."""
    monkeypatch.setattr(claims, "__path__", [*claims.__path__, str(tmp_path)])
    written = []

    def write(name, text):
        imports = "from fastweights.claims.base import Evidence, Verdict, below, claim, fact\n\n"
        (tmp_path / f"{name}.py").write_text(f'"""§99 A test."""\n\n{imports}{dedent(text)}')
        written.append(f"{claims.__name__}.{name}")

    yield write
    for name in written:
        sys.modules.pop(name, None)


WRONG = """
    @claim("99/wrong-record", source="nowhere", printed="2 is below 1.", verdict=Verdict.HOLDS)
    def wrong_record() -> Evidence:
        return Evidence(printed=(below("two", 2.0, 1.0),))


    @claim("99/broken-check", source="nowhere", printed="1/0 exists.", verdict=Verdict.REFUTED)
    def broken_check() -> Evidence:
        return Evidence(printed=(fact("1/0", 1 / 0 == 0),))


    def draw(figure):
        figure.subplots().plot([0, 1], [0, 1])


    @claim("99/right", source="nowhere", printed="x_i * y_i is below 1.", verdict=Verdict.HOLDS, figure=draw)
    def right() -> Evidence:
        return Evidence(printed=(below("one half", 0.5, 1.0),))
"""


# The claims themselves.


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.id)
def test_every_claim_comes_out_as_recorded(each):
    result = run(each)
    assert result.agrees, (result.error, result.evidence)


@pytest.mark.parametrize("each", [each for each in ALL if each.figure], ids=lambda each: each.id)
def test_every_picture_is_drawn_with_its_axes_named(each):
    """Without a warning, such as the one for a sign that the font does not have."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    each.figure(figure)
    figure.draw_without_rendering()
    assert figure.axes
    assert figure.get_supxlabel() or any(axes.get_xlabel() for axes in figure.axes)


def test_ids_are_unique_and_name_the_section():
    ids = [each.id for each in ALL]
    assert len(ids) == len(set(ids))
    for id in ids:
        assert re.fullmatch(r"(\d+(\.\d+)*|final|paper)/[a-z0-9]+(-[a-z0-9]+)*", id)


def test_a_corrected_statement_goes_with_its_verdict():
    assert all((each.corrected is not None) == (each.verdict is Verdict.HOLDS_CORRECTED) for each in ALL)
    with pytest.raises(TypeError, match="a corrected statement goes with"):
        claim("9/x", source="", printed="", verdict=Verdict.HOLDS_CORRECTED)
    with pytest.raises(TypeError, match="a corrected statement goes with"):
        claim("9/x", source="", printed="", corrected="", verdict=Verdict.REFUTED)


def test_the_committed_page_lists_every_claim_and_its_verdict():
    listed = re.findall(r"^### (\S+): (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert listed == [(each.id, each.verdict.value) for each in ALL]


# The command.


def test_the_ledger_is_printed_and_nothing_differs(verify):
    code, out, err = verify("--only", "4.1/o")
    assert code == 0
    chosen = [each for each in ALL if "4.1/o" in each.id]
    assert f"{len(chosen)} claims: " in out
    assert " 0 DIFFER" in out
    for each in chosen:
        assert re.search(rf"^{each.id} +{each.verdict.value}$", out, flags=re.MULTILINE)
    assert "✗ max |A f_j − g_j|, 20 orthogonal keys" in out
    assert err == "§4.1 A simple example of an associative memory model.\n"
    assert "\x1b" not in out + err


@pytest.mark.parametrize("width", [30, 80])
def test_lines_wrap(verify, monkeypatch, width):
    monkeypatch.setattr(cli._output, "_width", width)
    _, out, _ = verify("--only", "4.1/orthogonal-keys")
    assert max(map(len, out.splitlines()[:-1])) <= width
    assert "perfect" in out


def test_list_runs_nothing(verify, section):
    section("section_99_test", WRONG)
    assert verify("--list", "--only", "99/") == (
        0,
        "99/wrong-record  HOLDS\n99/broken-check  REFUTED\n99/right  HOLDS\n",
        "",
    )


def test_a_verdict_that_differs_and_a_check_that_raises_are_named_and_hide_nothing(verify, section, tmp_path):
    section("section_99_test", WRONG)
    page, folder = tmp_path / "new" / "claims.md", tmp_path / "pictures"
    code, out, err = verify("--only", "99/", "--markdown", page, "--figures", folder)
    assert code == 1
    differing = [
        "99/wrong-record: measured REFUTED; on record HOLDS",
        "99/broken-check: ZeroDivisionError: division by zero; on record REFUTED",
    ]
    for line in differing:
        assert f"  {line}\n" in err
    assert "99/right:" not in err
    assert "3 claims: 1 HOLDS, 2 DIFFER" in out
    assert "### 99/wrong-record: DIFFERS: measured REFUTED; on record HOLDS" in page.read_text()
    assert "### 99/right: HOLDS" in page.read_text()
    assert r"x\_i \* y\_i is below 1." in page.read_text()
    assert "![99/right](../pictures/99-right.svg)" in page.read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["99-right.png", "99-right.svg"]
    assert ElementTree.parse(folder / "99-right.svg").getroot().tag.endswith("svg")
    assert (folder / "99-right.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_measurements_give_the_same_files(verify, section, tmp_path):
    section("section_99_test", WRONG)
    for name in ("a", "b"):
        verify("--only", "99/", "--markdown", tmp_path / name / "claims.md", "--figures", tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_json_is_json_alone_and_says_everything(verify, section):
    section("section_99_test", WRONG)
    code, out, _ = verify("--only", "99/", "--json")
    ((title, listed),) = [each.values() for each in json.loads(out)]
    assert code == 1
    assert title == "§99 A test."
    wrong, broken, right = listed
    seconds = wrong.pop("seconds")
    assert 0 <= seconds < 1
    assert wrong == {
        "id": "99/wrong-record",
        "source": "nowhere",
        "printed": "2 is below 1.",
        "corrected": None,
        "note": "",
        "verdict": "REFUTED",
        "verdict_on_record": "HOLDS",
        "agrees": False,
        "evidence": {
            "printed": [{"what": "two", "holds": False, "numbers": "2, at most 1"}],
            "corrected": [],
            "why_not": "",
        },
        "error": "",
    }
    assert (broken["verdict"], broken["error"]) == (None, "ZeroDivisionError: division by zero")
    assert right["agrees"] is True


def test_a_picture_that_cannot_be_drawn_is_a_failure_and_hides_no_other(verify, section, tmp_path):
    section(
        "section_99_test",
        WRONG.replace('"99/wrong-record"', '"99/undrawn"').replace(
            'printed="2 is below 1.", verdict=Verdict.HOLDS',
            'printed="2 is below 1.", verdict=Verdict.REFUTED, figure=lambda figure: 1 / 0',
        ),
    )
    code, _, err = verify("--only", "99/", "--figures", tmp_path)
    assert code == 1
    assert "picture of 99/undrawn: ZeroDivisionError: division by zero" in err
    assert (tmp_path / "99-right.svg").exists()


def test_an_unknown_claim_is_answered_with_the_nearest(verify, tmp_path):
    code, out, err = verify("--only", "4.1/orthogonal-kays", "--markdown", tmp_path / "claims.md")
    assert (code, out) == (2, "")
    assert "only='4.1/orthogonal-kays' matches no claim: did you mean '4.1/orthogonal-keys'?" in err
    assert not (tmp_path / "claims.md").exists()


def test_a_place_that_cannot_be_written_is_said_before_anything_is_checked(verify, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = verify("--markdown", tmp_path / "file" / "claims.md")
    assert (code, out) == (2, "")
    assert "must be a place that can be written" in err


def test_sections_come_in_the_order_of_the_report(section):
    for name in ("section_9_memory", "section_9_10_z", "section_9_2_a"):
        section(name, "")
    assert claims.names()[-3:] == ("section_9_memory", "section_9_2_a", "section_9_10_z")


# What a check may hand back.


def verdict_of(evidence, corrected=None, verdict=Verdict.REFUTED):
    return run(Claim("9/x", "", "", corrected, verdict, lambda: evidence, "", None))


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(printed=(TRUE, TRUE)), Verdict.HOLDS),
        (Evidence(printed=(FALSE, FALSE)), Verdict.REFUTED),
        (Evidence(printed=(FALSE,), corrected=(TRUE,)), Verdict.HOLDS_CORRECTED),
        (Evidence(printed=(TRUE,), corrected=(TRUE,)), Verdict.HOLDS),
        (Evidence(why_not="it speaks of taste"), Verdict.NOT_CHECKABLE),
        (Evidence(), None),
        (Evidence(corrected=(TRUE,)), None),
        (Evidence(printed=(TRUE, FALSE)), None),
        (Evidence(printed=(FALSE,), corrected=(TRUE, FALSE)), None),
        (Evidence(printed=(TRUE,), corrected=(FALSE,)), None),
        (Evidence(printed=(TRUE,), why_not="it speaks of taste"), None),
    ],
)
def test_the_verdict_is_worked_out_from_what_was_measured(evidence, verdict):
    assert evidence.verdict() is verdict


def test_a_verdict_without_its_statement_is_an_error():
    result = verdict_of(Evidence(printed=(TRUE,), corrected=(TRUE,)), verdict=Verdict.HOLDS)
    assert not result.agrees
    assert "the check measures a corrected statement, and the claim has none" in result.error


@pytest.mark.parametrize("verdict", Verdict)
def test_a_check_without_a_verdict_agrees_with_no_record(verdict):
    assert not verdict_of(Evidence(printed=(TRUE, FALSE)), verdict=verdict).agrees


@pytest.mark.parametrize(
    ("measure", "complaint"),
    [
        (lambda: close("x", math.nan, 1.0, 0.1), "measured NaN"),
        (lambda: close("x", 1.0, math.nan, 0.1), "measured NaN"),
        (lambda: close("x", math.inf, math.inf, 0.1), "measured NaN"),
        (lambda: close("x", 1.0, 1.0, math.nan), "measured NaN"),
        (lambda: close("x", 1.0, 2.0, math.inf), "the tolerance must be finite"),
        (lambda: close("x", 1.0, 1.0, -0.1), "the tolerance must be finite and at least 0"),
        (lambda: below("x", math.nan, 1.0), "measured NaN"),
        (lambda: below("x", 1.0, math.inf), "every number satisfies"),
        (lambda: above("x", math.nan, 1.0), "measured NaN"),
        (lambda: above("x", 1.0, -math.inf), "every number satisfies"),
        (lambda: fact("x", sympy.Symbol("x").is_positive), "undecided"),
    ],
)
def test_what_decides_nothing_is_an_error_and_no_counterexample(measure, complaint):
    result = run(Claim("9/x", "", "", None, Verdict.REFUTED, lambda: Evidence(printed=(measure(),)), "", None))
    assert result.error.startswith("ArithmeticError: x: ")
    assert complaint in result.error
    assert result.verdict is None


def test_bounds_and_tolerances_are_inclusive():
    assert close("x", 1.25, 1.0, 0.25).holds
    assert not close("x", 1.25, 1.0, 0.2).holds
    assert below("x", 1.0, 1.0).holds
    assert not below("x", 1.1, 1.0).holds
    assert above("x", math.inf, 1.0).holds
    assert not above("x", 0.9, 1.0).holds


def test_only_is_a_part_of_the_id():
    assert {each.id for group in claims.sections("orthogonal-k").values() for each in group} == {"4.1/orthogonal-keys"}
    with pytest.raises(UsageError, match="matches no claim"):
        claims.sections("no such claim anywhere")
