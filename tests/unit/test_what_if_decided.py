"""What-if of a pet of which users have decided something: it holds on both sides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.policy.overrides import Overrides
from app.whatif.replay import TwoFolds
from schemas.pet_keys import NoKeys
from tests.albums import Directions, image
from tests.decided_albums import PET, Album


class _NoKeys(NoKeys):
    async def need(self, key_ids: Iterable[str]) -> None:
        """There are none."""


def test_what_users_have_decided_holds_under_the_other_policy(tmp_path: Path) -> None:
    album, directions = Album(), Directions(3)
    for name in ("a", "b", "c"):
        burst = directions.new()
        album.photos(*(image(f"{name}{shot}", directions.near(burst, 0.3)) for shot in range(4)))
    album.decide("merge", clusters=[2, 0])
    album.decide("rename", cluster=2, name="Rex")
    folds = TwoFolds(0, Overrides({"join": 0.99, "merge": 0.98}), tmp_path, _NoKeys(), None)
    for offset, each in enumerate(album.log):
        folds.feed(offset, *each)
    (difference,) = folds.differences()
    folds.close()
    assert (difference.pet_id, difference.clusters_today, difference.clusters_what_if) == (PET, 2, 1)
    assert difference.moved == 4, "b's cluster falls apart; a's and c's are held together"
