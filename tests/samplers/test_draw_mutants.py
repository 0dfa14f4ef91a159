"""Known bugs of draws, injected one by one into ours: the check that is meant for each must fail by an assertion."""

from collections.abc import Callable

import draw_checks
import pytest
import torch
from torch import Tensor

from samplers import chain, draw, steps
from samplers.draw import KeyStream
from samplers.ranking import Shortlist

real_draw, real_noise = draw.draw, draw.noise
Keys = Callable[[], Tensor]  # -> (B,) int64, once per step


def first_token_for_all(shortlist: Shortlist, keys: Tensor) -> Tensor:  # nanochat
    return real_draw(shortlist, keys)[:1].expand(len(keys))


def one_key_for_all(shortlist: Shortlist, keys: Tensor) -> Tensor:
    return real_draw(shortlist, keys[:1].expand(len(keys)))


def noise_by_place(keys: Tensor, ids: Tensor) -> Tensor:
    return real_noise(keys, torch.arange(ids.shape[1]).expand_as(ids))


def noise_by_id_alone(keys: Tensor, ids: Tensor) -> Tensor:
    return real_noise(torch.zeros_like(keys), ids)


def noise_by_step_alone(keys: Tensor, ids: Tensor) -> Tensor:
    return real_noise(keys, torch.zeros_like(ids))


def noise_without_mixing(keys: Tensor, ids: Tensor) -> Tensor:
    return ((keys ^ ids * 7919) % 10_007 + 0.5) / 10_007


def half_of_the_noise(keys: Tensor, ids: Tensor) -> Tensor:
    return real_noise(keys, ids) / 2


def loser_of_the_race(shortlist: Shortlist, keys: Tensor) -> Tensor:
    values, ids = shortlist
    race = real_noise(keys[:, None], ids).log().neg() / values.double().softmax(1)
    return ids.gather(1, race.argmax(1, keepdim=True))[:, 0]


def always_the_best(shortlist: Shortlist, keys: Tensor) -> Tensor:
    return shortlist.ids.gather(1, shortlist.values.argmax(1, keepdim=True))[:, 0]


def uniform_over_the_kept(shortlist: Shortlist, keys: Tensor) -> Tensor:
    return real_draw(Shortlist(shortlist.values * 0, shortlist.ids), keys)


def by_inversion(shortlist: Shortlist, keys: Tensor) -> Tensor:
    """Draw by inverting the cumulated distribution: exact, but it couples two models by place and not by token."""
    point = real_noise(keys, torch.zeros_like(keys))
    mass = shortlist.values.double().softmax(1).cumsum(1)
    place = (mass < point[:, None]).sum(1, keepdim=True).clamp(max=mass.shape[1] - 1)
    return shortlist.ids.gather(1, place)[:, 0]


def one_generator_for_all(seed: int, rows: int, *, first: int = 0) -> Keys:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randint(2**63 - 1, (rows,), generator=generator)


def rows_of_one_batch(seed: int, rows: int, *, first: int = 0) -> Keys:
    return KeyStream(seed + rows, rows)


def seed_plus_row(seed: int, rows: int, *, first: int = 0) -> Keys:
    streams = [KeyStream((seed + row) % 2**63, 1) for row in range(rows)]
    return lambda: torch.cat([stream() for stream in streams])


def seeds_of_32_bits(seed: int, rows: int, *, first: int = 0) -> Keys:
    return KeyStream(seed % 2**32, rows)


def seed_ignored(seed: int, rows: int, *, first: int = 0) -> Keys:
    return KeyStream(0, rows)


def stuck(seed: int, rows: int, *, first: int = 0) -> Keys:
    keys = KeyStream(seed, rows)()
    return lambda: keys


def misspelt(shortlist: Shortlist, keys: Tensor) -> Tensor:
    return shortlist.idz[:, 0]


MANY = torch.randn(1, 50, generator=torch.Generator().manual_seed(1))


def distribution() -> None:
    draw_checks.check_distribution(draw_checks.PLAIN, MANY, seed=1, draws=20_000)


@pytest.mark.parametrize(
    ("owner", "name", "bug", "check"),
    [
        (chain, "draw", first_token_for_all, draw_checks.check_rows),
        (chain, "draw", one_key_for_all, draw_checks.check_independence),
        (draw, "noise", noise_by_place, draw_checks.check_alike_where_equal),
        (draw, "noise", noise_by_place, draw_checks.check_close_models_agree),
        (draw, "noise", noise_by_id_alone, distribution),
        (draw, "noise", noise_by_step_alone, distribution),
        (draw, "noise", noise_without_mixing, distribution),
        (draw, "noise", half_of_the_noise, distribution),
        (chain, "draw", loser_of_the_race, distribution),
        (chain, "draw", always_the_best, distribution),
        (chain, "draw", uniform_over_the_kept, distribution),
        (chain, "draw", by_inversion, draw_checks.check_alike_where_equal),
        (chain, "draw", by_inversion, draw_checks.check_close_models_agree),
        (chain, "KeyStream", one_generator_for_all, draw_checks.check_rows),
        (chain, "KeyStream", rows_of_one_batch, draw_checks.check_rows),
        (chain, "KeyStream", seed_plus_row, draw_checks.check_streams),
        (chain, "KeyStream", seeds_of_32_bits, draw_checks.check_streams),
        (chain, "KeyStream", seed_ignored, draw_checks.check_streams),
        (chain, "KeyStream", stuck, draw_checks.check_rows),
    ],
)
def test_a_draw_with_a_known_bug_is_caught(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, bug: object, check: Callable[[], None]
) -> None:
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(AssertionError):
        check()


def test_a_stream_that_rests_when_one_token_is_left_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    unused: dict[Keys, Tensor] = {}
    streams: list[Keys] = []

    def lazy(seed: int, rows: int, *, first: int = 0) -> Keys:
        stream = KeyStream(seed, rows)

        def keys() -> Tensor:
            streams.append(keys)
            return unused.pop(keys) if keys in unused else stream()

        return keys

    def returning(shortlist: Shortlist, used: Tensor) -> Tensor:
        if shortlist.ids.shape[1] == 1:
            unused[streams[-1]] = used
        return real_draw(shortlist, used)

    monkeypatch.setattr(chain, "KeyStream", lazy)
    monkeypatch.setattr(chain, "draw", returning)
    with pytest.raises(AssertionError):
        draw_checks.check_advances()


def test_unnoticed_nan_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "require_drawable", lambda rows, source: rows)
    with pytest.raises(AssertionError):
        draw_checks.check_names_the_model()


def test_an_error_found_too_late_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = steps.require_drawable
    monkeypatch.setattr(
        steps, "require_drawable", lambda rows, source: rows if source == "the model" else real(rows, source)
    )
    with pytest.raises(AssertionError):
        draw_checks.check_names_the_model()


def test_a_crash_of_the_harness_is_not_a_catch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "draw", misspelt)
    for check in (distribution, draw_checks.check_rows, draw_checks.check_names_the_model):
        with pytest.raises(AttributeError):
            check()
