import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import TrainingError
from models.generator.gan import Discriminator, GanGenerator
from models.generator.gpt import Sampling
from models.generator.latent import LatentTextModel, Projection, Scatter, on_sphere
from models.generator.latent_training import CollapseDetector, GanSettings, LatentData, energy, frechet, train_gan, train_vae
from models.generator.vae import Vae, VaeGenerator


def ring(n: int, seed: int) -> LatentData:
    """Two products; each has ℓ in two opposite places of a plane that the product chooses."""
    generator = torch.Generator().manual_seed(seed)
    product = torch.randint(2, (n,), generator=generator)
    latent = 0.15 * torch.randn(n, 6, generator=generator)
    latent[torch.arange(n), product] += 3.0 * (2.0 * torch.randint(2, (n,), generator=generator) - 1)
    condition = torch.zeros(n, 4)
    condition[torch.arange(n), 2 + product] = 1.0
    return LatentData(on_sphere(latent), condition, torch.zeros(n, 0), torch.zeros(0, 1), 0.3)


def modes(drawn: torch.Tensor, axis: int) -> set[float]:
    return set(drawn[:, axis].sign().tolist())


def quiet(metrics: dict[str, float], step: int) -> None:
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_gan_learns_both_places_of_each_product_and_beats_no_training():
    data, unseen = ring(400, 0), ring(200, 1)
    settings = GanSettings(d_noise=8, d_hidden=32, steps=1000, batch_size=64, r1_weight=0.1, ema_decay=0.98, g_rate=1e-3, check_every=50)
    g, detector = train_gan(data, unseen, settings, seed=3, report=quiet)
    untrained, _ = train_gan(data, unseen, GanSettings(8, 32, 1, 64, 0.1, 0.98, g_rate=0.0), seed=3, report=quiet)
    generator = torch.Generator().manual_seed(5)
    for axis in range(2):
        condition = torch.zeros(200, 4)
        condition[:, 2 + axis] = 1.0
        with torch.no_grad():
            drawn = g(torch.randn(200, 8, generator=generator), condition)
        assert modes(drawn, axis) == {-1.0, 1.0}
        assert float(drawn[:, axis].abs().mean()) > 2 * float(drawn[:, 1 - axis].abs().mean())
    with torch.no_grad():
        noise = torch.randn(200, 8, generator=generator)
        assert frechet(g(noise, unseen.condition), unseen.latent) < 0.5 * frechet(untrained(noise, unseen.condition), unseen.latent)
    assert detector.best_step > 0
    assert detector.reason == ""


def test_equal_seeds_give_equal_networks():
    settings = GanSettings(8, 16, 20, 32, 0.1, 0.9, check_every=10)
    first, _ = train_gan(ring(100, 0), ring(50, 1), settings, seed=3, report=quiet)
    second, _ = train_gan(ring(100, 0), ring(50, 1), settings, seed=3, report=quiet)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_vae_learns_both_places_of_each_product():
    network = train_vae(ring(400, 0), ring(200, 1), d_hidden=32, epochs=150, batch_size=32, seed=1, report=quiet)
    generator = torch.Generator().manual_seed(5)
    condition = torch.zeros(200, 4)
    condition[:, 2] = 1.0
    with torch.no_grad():
        drawn = network.draw(condition, torch.randn(200, 32, generator=generator), torch.randn(200, 6, generator=generator))
    assert modes(drawn, 0) == {-1.0, 1.0}
    assert float(drawn[:, 0].abs().mean()) > 2 * float(drawn[:, 1].abs().mean())


def test_a_vae_that_learns_its_copies_by_heart_keeps_an_earlier_epoch():
    torch.manual_seed(2)
    data, unseen = (LatentData(torch.randn(12, 6), torch.randn(12, 3), torch.zeros(12, 0), torch.zeros(0, 1), 0.3) for _ in range(2))
    losses: list[float] = []
    network = train_vae(
        data, unseen, d_hidden=64, epochs=60, batch_size=6, seed=1, report=lambda found, _: losses.append(found["vae_validation_loss"])
    )
    assert losses[-1] > min(losses)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(12, 32, generator=generator)
    with torch.no_grad():
        assert float(network.loss(unseen.latent, unseen.condition, noise)) == pytest.approx(min(losses))


def test_the_evidence_bound_is_the_hand_made_sum():
    torch.manual_seed(0)
    network = Vae(3, 2, 4)
    latent, condition, noise = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 32)
    mean, log_variance = network.encoder(torch.cat([latent, condition], 1)).chunk(2, 1)
    decoded = network.decoder(torch.cat([mean + (log_variance / 2).exp() * noise, condition], 1))
    normal = torch.distributions.Normal
    log_p = normal(decoded, network.log_sigma.exp()).log_prob(latent).sum(1) + 1.5 * math.log(2 * math.pi)
    gap = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(network.loss(latent, condition, noise), ((gap - log_p) / 3).mean())


def test_every_layer_of_the_discriminator_is_spectrally_normalised():
    torch.manual_seed(0)
    network = Discriminator(4, 6, 16)
    for _ in range(50):
        network(torch.randn(8, 6), torch.randn(8, 4))
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            assert float(torch.linalg.matrix_norm(module.weight.detach(), 2)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"spread": 0.001}, "differ by less than 0.05"),
        ({"d_loss": 0.0}, "sure of everything"),
        ({"d_loss": 2.1}, "answers nought"),
        ({"distance": 99.0}, "four times the best"),
        ({"g_loss": math.nan}, "not finite"),
    ],
)
def test_a_collapse_is_stopped_with_its_reason_and_the_best_step_is_kept(bad, words):
    detector = CollapseDetector()
    healthy = {"distance": 1.0, "energy": 0.5, "spread": 0.6, "d_loss": 1.5, "g_loss": 0.2}
    assert detector.check(100, **healthy)
    for step in (200, 300, 400):
        if not detector.reason:
            assert not detector.check(step, **{**healthy, "energy": 0.6, "distance": 1.1, **bad})
    assert words in detector.reason
    assert detector.best_step == 100


def test_what_the_decoder_cannot_tell_apart_is_small_in_even_coordinates_and_the_rest_alike():
    generator = torch.Generator().manual_seed(2)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    spread = torch.tensor([3.0, 1.0, 0.3, 0.01])
    latent = 5 + (torch.randn(4000, 4, generator=generator) * spread) @ turn
    scatter = Scatter(4)
    scatter.fit(latent, 0.3)
    even = scatter.even(latent)
    expected = (spread.pow(2) / (spread.pow(2) + 0.3**2)).sqrt().flip(0)
    torch.testing.assert_close(even.std(0), expected, atol=0.03, rtol=0.03)
    torch.testing.assert_close(scatter.latent(even), on_sphere(latent), atol=1e-4, rtol=1e-4)
    before = scatter.axes.clone()
    scatter.fit(latent * torch.nan, 0.3)
    assert torch.equal(scatter.axes, before)


def test_the_energy_score_is_lowest_for_draws_of_the_true_distribution():
    generator = torch.Generator().manual_seed(1)

    def score(shift: float, scale: float) -> float:
        real, first, second = (torch.randn(20_000, 3, generator=generator) for _ in range(3))
        return float(energy(real, shift + scale * first, shift + scale * second))

    true = score(0.0, 1.0)
    assert all(score(shift, scale) > true + 0.01 for shift, scale in ((0.5, 1.0), (0.0, 0.5), (0.0, 1.6), (0.0, 0.0)))
    one = energy(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), torch.tensor([[3.0, 0.0]]))
    assert float(one) == pytest.approx((5 + 4 - 3) / 2)


def test_a_run_that_recovers_is_not_stopped():
    detector = CollapseDetector()
    for step in range(12):
        detector.check(step, distance=2.0, energy=0.5, spread=0.01 if step % 3 else 0.5, d_loss=1.0, g_loss=0.0)
    assert detector.reason == ""


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_vae_and_gan_write_the_same_after_a_round_trip(shop, tmp_path, kind):
    latent = LatentTextModel(shop.model(), Projection(torch.zeros(2, 12), 6).eval())
    requests = [copy.request for copy in shop.copies[:3]]
    sampling = Sampling(0.8, 0.9)
    size = 5 + 1 + 16 + 4 + 3
    torch.manual_seed(1)
    from models.generator.gan import Generator

    made = (
        VaeGenerator(latent, Vae(6, size, 8).eval(), sampling)
        if kind == "vae"
        else GanGenerator(latent, Generator(10, size, 6, 8).eval(), sampling)
    )
    first = made.write(requests, 2, np.random.default_rng(1))
    assert [len(texts) for texts in first] == [2, 2, 2]
    made.save(tmp_path)
    assert type(made).load(tmp_path, latent).write(requests, 2, np.random.default_rng(1)) == first


@pytest.mark.parametrize("seed", [3, 4, 6])
def test_a_discriminator_that_learns_fifty_times_too_fast_is_caught_and_the_best_step_kept(seed):
    data, unseen = ring(400, 0), ring(200, 1)
    settings = GanSettings(8, 32, 500, 64, 0.1, 0.98, g_rate=2e-3, check_every=25)
    _, healthy = train_gan(data, unseen, settings, seed=seed, report=quiet)
    assert "it learns too fast" not in healthy.reason
    seen: dict[int, tuple[float, torch.Tensor]] = {}
    distances: dict[int, float] = {}
    g, detector = train_gan(
        data,
        unseen,
        replace(settings, d_ratio=50 * settings.d_ratio),
        seed=seed,
        report=lambda metrics, step: distances.__setitem__(step, metrics["gan_energy"]),
        watch=lambda network, step: seen.__setitem__(step, (distances[step], next(network.parameters()).clone())),
    )
    assert "it learns too fast" in detector.reason
    assert max(distances) < 250  # stopped long before the end
    assert detector.best_energy <= min(distances.values())
    if detector.best_step in seen:  # the check that stops a run is not shown
        assert torch.equal(next(g.parameters()), seen[detector.best_step][1])
    assert all(bool(torch.isfinite(weight).all()) for weight in g.parameters())


@pytest.mark.parametrize("part", ["latent", "condition"])
def test_numbers_that_are_not_finite_stop_gan_and_vae_and_say_where_they_come_from(part):
    data = ring(100, 0)
    broken = replace(data, **{part: torch.where(torch.arange(100)[:, None] < 7, torch.nan, getattr(data, part))})
    words = "7 of 100 latents are not finite: run `encode` again" if part == "latent" else "7 rows of conditions"
    with pytest.raises(TrainingError, match=f"vae: the loss is nan in epoch 0; {words}"):
        train_vae(broken, ring(50, 1), d_hidden=8, epochs=2, batch_size=20, seed=1, report=quiet)
    with pytest.raises(TrainingError, match=f"gan: step 10: a loss is not finite .* no step before it was good; {words}"):
        train_gan(broken, ring(50, 1), GanSettings(8, 16, 40, 64, 0.1, 0.9, check_every=10), seed=3, report=quiet)


def test_a_gan_that_blows_up_late_keeps_its_best_step():
    class Late(LatentData):
        def draw(self, rows, generator):
            latent, condition = super().draw(rows, generator)
            calls.append(1)
            return (latent * torch.nan if len(calls) > 60 else latent), condition

    calls: list[int] = []
    held = ring(100, 0)
    data = Late(held.latent, held.condition, held.weights, held.features, held.blur)
    g, detector = train_gan(data, ring(50, 1), GanSettings(8, 16, 80, 32, 0.1, 0.9, check_every=10), seed=3, report=quiet)
    assert "a loss is not finite" in detector.reason
    assert 0 < detector.best_step <= 30
    assert all(bool(torch.isfinite(weight).all()) for weight in g.parameters())
