"""The query of a read with conditions: what is taken, and what is refused by name."""

from __future__ import annotations

import pytest
from multidict import MultiDict

from app.views.errors import ApiError
from app.views.read_request import Condition, parse_condition, plain


def parsed(*pairs: tuple[str, str]) -> Condition:
    return parse_condition(MultiDict(pairs), 2.0)


@pytest.mark.parametrize(
    ("pairs", "condition"),
    [
        ((), Condition(0, None, 2.0)),
        ((("min_version", "7"),), Condition(7, None, 2.0)),
        ((("wait_for_job", "job_1"), ("wait", "0")), Condition(0, "job_1", 0.0)),
        ((("wait", "0.25"), ("min_version", str(2**63 - 1))), Condition(2**63 - 1, None, 0.25)),
        ((("wait", "1e-05"),), Condition(0, None, 1e-05)),
        ((("wait", "10"), ("unknown", "1"), ("unknown", "2")), Condition(0, None, 10.0)),
    ],
)
def test_conditions_are_read(pairs: tuple[tuple[str, str], ...], condition: Condition) -> None:
    assert parsed(*pairs) == condition


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        *(((("min_version", text),), "min_version") for text in ("", "0", "-1", "1.0", "x", "+1", str(2**63), "٣")),
        *(((("wait", text),), "wait") for text in ("", "-1", "10.1", "nan", "inf", "1e9", "1_0", " 1", "٣", "1" * 30)),
        *(((("wait_for_job", text),), "wait_for_job") for text in ("", "a b", "x" * 129, "é")),
        ((("min_version", "1"), ("min_version", "1")), "min_version"),
        ((("wait", "1"), ("wait", "2")), "wait"),
    ],
)
def test_what_is_wrong_is_named(pairs: tuple[tuple[str, str], ...], field: str) -> None:
    with pytest.raises(ApiError) as refused:
        parsed(*pairs)
    error = refused.value
    assert (error.status, error.code.code, error.fields) == (422, "invalid_parameter", {"field": field})
    told = plain(error, MultiDict(pairs))
    assert isinstance(told.detail, list)
    assert (told.status, told.detail[0]["loc"], told.detail[0]["msg"]) == (422, ["query", field], error.message)
