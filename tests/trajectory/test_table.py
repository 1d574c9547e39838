"""Tables as text: the numbers that C's printf writes."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.trajectory.decimals import plain_numbers
from propensity.trajectory.table import format_rows, integers_only


@pytest.mark.parametrize("digits", [1, 6, 9, 10])
def test_numbers_are_those_of_printf(digits):
    random = np.random.default_rng(digits)
    values = np.concatenate(
        [
            random.normal(size=2000),
            random.normal(size=2000) * 10.0 ** random.uniform(-12, 12, 2000),
            random.random(2000).astype(np.float32),
            np.round(random.uniform(-30, 30, 500), 4),
            random.integers(-5000, 5000, 500).astype(float),
            [0, 1, -1, 0.1, 9.9999999999, 99999.99999, 1e-4, 9.99999e-5, 1e8, 1e9, 1e10, 123456789, 1e22],
            [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, 5e-324, np.finfo(float).max],
            10.0 ** np.arange(-20, 20),
        ]
    )
    found = format_rows([values], digits).splitlines()
    expected = [f"{x:.{digits}g}" for x in values.tolist()]
    wrong = [(f, e) for f, e in zip(found, expected, strict=True) if f != e]
    assert len(wrong) <= 3
    for f, e in wrong:
        assert float(f) == pytest.approx(float(e), rel=1.01 * 10.0 ** (1 - digits))


def test_a_table_of_every_kind():
    columns = [
        np.array(["A", "Bβ", "C"]),
        np.arange(3),
        np.array([[0.5, -1e-7], [2, 3], [np.nan, 1e12]]),
        np.array([True, False, True]),
        np.array(["x", 3, "long word"], dtype=object),
        np.array([1.5, 2, 3], dtype=np.float32),
    ]
    assert format_rows(columns) == ("A 0 0.5 -1e-07 T x 1.5\nBβ 1 2 3 F 3 2\nC 2 nan 1e+12 T long word 3\n")


def test_columns_follow_lines_as_they_are():
    rows = "1 A\t0.50 \n  2 β  7\r\n3 C 1e3"
    expected = "1 A\t0.50 1.5 T\n  2 β  7 2 F\n3 C 1e3 nan T\n"
    assert format_rows([np.array([1.5, 2, np.nan]), np.array([True, False, True])], rows=rows) == expected


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ("1 2 x\n2 30 y", True),
        ("1 -2\n2 --3 ", True),
        ("1 2\n2 A 3", False),
        ("1 1.0", False),
        ("1 1e3", False),
        ("1 -\n2 3", False),
        ("1 +3", False),
        ("1\n\n2 4", True),
        (" 1\t\t2\r\n 3 4b", False),
        ("é 2\n2 3", True),
        ("1 é", False),
    ],
)
def test_columns_of_integers(rows, answer):
    assert integers_only(rows, 1) is answer


def test_plain_numbers_are_those_that_python_reads():
    """Every digit of them, in each form that programs write."""
    random = np.random.default_rng(0)
    values = random.normal(size=400) * 10.0 ** random.integers(-6, 9, 400)
    forms = ["%.6f", "%g", "%.15g", "%.9e", "%.3E", "%+.4f", "%.0f", "%#.0f"]
    words = [forms[k % len(forms)] % value for k, value in enumerate(values)]
    words[:6] = ["0", "-0.0", ".5", "-7.", "9007199254740992", "1e-22"]
    rows = "\n".join(f" {k}\t{word}  {word} " for k, word in enumerate(words))
    found = plain_numbers(rows, 400, [True, False, False])
    expected = np.array([float(word) for word in words])
    np.testing.assert_array_equal(found[0], np.arange(400))
    assert found[1].tobytes() == found[2].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "rows",
    [
        "1 2\n3",
        "1 2\n3 4 5",
        "1 2\n\n3 4",
        "1 2\n3 4\n",
        "1 2\n3 4\n5 6",
        "1 2",
        "",
        "1.0 2\n3 4",
        "+1 2\n3 4",
        "--1 2\n3 4",
        "1 2e\n3 4",
        "1 2e5000\n3 4",
        "1 1e23\n3 4",
        "1 2.5.5\n3 4",
        "1 nan\n3 4",
        "1 1_000\n3 4",
        "1 9007199254740993\n3 4",
        "1 0x10\n3 4",
        "1 -\n3 4",
        "1 .\n3 4",
        "1 é\n3 4",
        "1 2\r\n3 4",
        "1 2\x003\n3 4",
    ],
)
def test_what_is_not_plain_is_left_to_others(rows):
    assert plain_numbers(rows, 2, [True, False]) is None


def test_integers_of_any_length():
    values = np.array([0, 7, -1, 10, -1234567890, 2**63 - 1, -(2**63)])
    assert format_rows([values, values[::-1].astype(np.int32) // 2]).split() == [
        word
        for pair in zip(values.tolist(), (values[::-1].astype(np.int32) // 2).tolist(), strict=True)
        for word in map(str, pair)
    ]
