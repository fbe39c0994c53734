"""Orthogonalised momentum: what it makes of a matrix, and that it is the library's Muon where the library can be asked."""

import copy

import pytest
import torch
from torch import nn

from models.generator.decoder import CopyDecoder, DecoderShape
from models.generator.optimiser import MATRIX_DECAY, OrthogonalMomentum, matrices_of, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (16, 64)])
def test_singular_values_are_brought_near_one_and_directions_kept(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1e-6, 1.0, 1e6]).view(3, 1, 1)
    found = orthogonal(matrices)
    assert torch.linalg.svdvals(found).aminmax().min > 0.4
    assert torch.linalg.svdvals(found).aminmax().max < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    exact = left @ right
    assert torch.cosine_similarity(found.flatten(1), exact.flatten(1)).min() > 0.95
    assert torch.equal(orthogonal(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


def stepped(make, weights, gradients):
    parameters = [nn.Parameter(weight.clone()) for weight in weights]
    optimiser = make(parameters)
    for turn in gradients:
        for parameter, gradient in zip(parameters, turn, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimiser.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def drawn(*shapes, turns=4):
    torch.manual_seed(1)
    return [torch.randn(*shape) for shape in shapes], [[torch.randn(*shape) for shape in shapes] for _ in range(turns)]


def test_one_matrix_after_the_other_it_is_the_muon_of_torch():
    weights, gradients = drawn((24, 24), (96, 24), (24, 96))

    def library(parameters):
        return torch.optim.Muon(parameters, lr=0.02, weight_decay=MATRIX_DECAY, momentum=0.95, adjust_lr_fn="match_rms_adamw")

    start = torch.cat([weight.flatten() for weight in weights])
    own = stepped(lambda parameters: OrthogonalMomentum([{"params": parameters, "lr": 0.02, "parts": 1}]), weights, gradients) - start
    theirs = stepped(library, weights, gradients) - start
    assert torch.cosine_similarity(own, theirs, dim=0) > 0.995  # theirs is multiplied in bfloat16
    assert own.norm() == pytest.approx(float(theirs.norm()), rel=0.03)


def test_what_has_no_parts_moves_as_by_adamw():
    weights, gradients = drawn((8, 4), (5,))
    own = stepped(lambda parameters: OrthogonalMomentum([{"params": parameters, "lr": 0.01, "weight_decay": 0.1}]), weights, gradients)
    theirs = stepped(lambda parameters: torch.optim.AdamW(parameters, lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), weights, gradients)
    torch.testing.assert_close(own, theirs)


def test_matrices_that_stand_in_one_weight_move_as_if_they_stood_apart():
    weights, gradients = drawn((12, 4))

    def together(parameters):
        return OrthogonalMomentum([{"params": parameters, "lr": 0.01, "parts": 3}])

    def apart(parameters):
        return OrthogonalMomentum([{"params": parameters, "lr": 0.01, "parts": 1}])

    split = [list(turn[0].chunk(3)) for turn in gradients]
    torch.testing.assert_close(stepped(together, weights, gradients), stepped(apart, list(weights[0].chunk(3)), split))


def test_a_weight_without_a_gradient_stays_and_gradients_are_left_as_they_were():
    weights, _ = drawn((4, 4), (4, 4))
    parameters = [nn.Parameter(weight.clone()) for weight in weights]
    parameters[0].grad = torch.ones(4, 4)
    OrthogonalMomentum([{"params": parameters, "lr": 0.01, "parts": 1}]).step()
    assert torch.equal(parameters[1], weights[1])
    assert torch.equal(parameters[0].grad, torch.ones(4, 4))


def test_a_checkpoint_goes_on_as_the_run_would_have():
    weights, gradients = drawn((8, 8), (6,))

    def made(parameters):
        return OrthogonalMomentum([{"params": parameters[:1], "lr": 0.01, "parts": 1}, {"params": parameters[1:], "lr": 0.02}])

    whole = stepped(made, weights, gradients)
    parameters = [nn.Parameter(weight.clone()) for weight in weights]
    first = made(parameters)
    for turn, pair in enumerate(gradients):
        if turn == 2:
            kept = copy.deepcopy(first.state_dict())
            first = made(parameters)
            first.load_state_dict(kept)
        for parameter, gradient in zip(parameters, pair, strict=True):
            parameter.grad = gradient.clone()
        first.step()
    assert torch.equal(torch.cat([parameter.detach().flatten() for parameter in parameters]), whole)


def test_every_matrix_of_a_layer_is_one_of_the_decoders_matrices():
    decoder = CopyDecoder(DecoderShape(tokens=20, names=3, values=3, d_feature=4, d_latent=8, d_model=16, layers=2, heads=2, max_tokens=9))
    held = {id(weight): parts for parts, weights in matrices_of(decoder).items() for weight in weights}
    inside = {name: held.get(id(weight)) for name, weight in decoder.named_parameters() if name.startswith("blocks") and weight.ndim == 2}
    assert len(inside) == 8
    assert all(parts == (3 if "qkv" in name else 1) for name, parts in inside.items())
