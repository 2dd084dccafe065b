"""What the API answered while things were away. Called by audit.py; run.py counts the POSTs in question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.faults.case import Case, Finding
from tests.faults.ledger import Post
from tests.faults.stack import Outages

REDIS_AWAY: Final = ("redis_stop", "redis_kill", "redis_freeze")
"""Faults while which Redis answers nothing; a FLUSHALL is none."""
NEEDED: Final = ("web", "kafka")
CERTAIN_SECONDS: Final = 60.0
"""A run of this length must have had at least one POST in question."""


def posts_without_redis(case: Case) -> Iterator[Finding]:
    """While Redis is away and nothing that a POST needs is, every POST is answered with 202."""
    posts = posts_in_question(case.ledger.posts, case.outages)
    for post in posts:
        if post.status != 202:
            yield Finding("post_without_redis", f"status {post.status} after {post.ended - post.begun:.1f} s")
    if not posts and case.seconds >= CERTAIN_SECONDS and any(case.struck.get(name) for name in REDIS_AWAY):
        yield Finding("post_without_redis", "not a single POST was answered while only Redis was away")


def posts_in_question(posts: list[Post], outages: Outages) -> list[Post]:
    """The attempts that `posts_without_redis` counts."""
    away = [span for name in REDIS_AWAY for span in outages.spans.get(name, ())]
    others = [span for name in NEEDED for span in outages.spans.get(name, ())]
    return [
        post
        for post in posts
        if any(since <= post.begun and post.ended <= until for since, until in away)
        and not any(post.begun <= until and since <= post.ended for since, until in others)
    ]


def no_500(case: Case) -> Iterator[Finding]:
    """Whatever is away, the API knows what to say: 500 is an error that nobody foresaw."""
    for text in case.ledger.errors:
        yield Finding("no_500", text)
