"""The trainer follows its schedule, learns, repeats itself for one seed, and stops before it spoils the weights."""

import math
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch import Tensor

from gptdesk.training import TrainingDiverged, TrainingOptions, TrainingStep, evaluate, train
from gptdesk.training.loader import Loader, TableRows
from gptdesk.training.optimizer import make_optimizer
from gptdesk.training.options import ResolvedTraining
from gptdesk.training.schedule import learning_rate
from gptdesk.training.trainer import Trainer
from models import layout
from models.gpt import GPT, GPTConfig
from models.loss import linear_cross_entropy


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait for each other on networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_model(seed: int = 0, *, dropout: float = 0.0) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=40, block_size=16, n_layer=2, n_head=2, n_embd=32, dropout=dropout))


def random_rows(count: int, *, seed: int = 0, width: int = 17) -> Tensor:
    return torch.randint(40, (count, width), generator=torch.Generator().manual_seed(seed))


def options(**values: object) -> ResolvedTraining:
    chosen = {"steps": 20, "batch_size": 4, "warmup_steps": 2, "learning_rate": 3e-3} | values
    return TrainingOptions(**chosen).resolve()


def weights(model: GPT) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_overfits_one_batch() -> None:
    model, rows = tiny_model(), random_rows(4)
    steps = list(train(model, rows, options=options(steps=150, learning_rate=1e-2)))
    assert steps[0].train_loss == pytest.approx(math.log(40), abs=0.15)
    assert steps[-1].train_loss < 0.05
    assert (model(rows[:, :-1]).argmax(-1) == rows[:, 1:])[:, 1:].float().mean() > 0.98


def test_learns_what_holds_for_rows_it_has_not_seen() -> None:
    def counting(count: int, seed: int) -> Tensor:
        starts = torch.randint(40, (count, 1), generator=torch.Generator().manual_seed(seed))
        return (starts + 7 * torch.arange(17)) % 40

    chosen = options(steps=120, batch_size=16, learning_rate=1e-2)
    *_, last = train(tiny_model(), counting(64, 1), options=chosen, validation=counting(16, 2))
    assert last.validation_loss is not None
    assert last.validation_loss < 0.1


def test_one_seed_gives_one_run_to_the_last_bit() -> None:
    def run(seed: int) -> tuple[list[float], list[Tensor]]:
        model = tiny_model(dropout=0.0)
        steps = list(train(model, random_rows(32), options=options(seed=seed)))
        return [step.train_loss for step in steps], weights(model)

    losses, trained = run(5)
    again, trained_again = run(5)
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(trained, trained_again, strict=True))
    assert losses != run(6)[0]


# The learning rates that a published run (3e-4, 500 of 5000 steps of warmup) printed before these steps.
@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (2, 1.2e-06),
        (52, 3.12e-05),
        (102, 6.12e-05),
        (500, 3e-04),
        (501, 3e-04),
        (552, 2.999049e-04),
        (652, 2.991673e-04),
        (1002, 2.909180e-04),
        (2502, 1.759441e-04),
        (4002, 3.502605e-05),
        (4952, 8.775781e-08),
    ],
)
def test_schedule(step: int, rate: float) -> None:
    chosen = TrainingOptions(steps=5000, warmup_steps=500, learning_rate=3e-4).resolve()
    assert learning_rate(step, chosen) == pytest.approx(rate, rel=2e-6)


def test_schedule_ends_just_above_zero_and_needs_no_warmup() -> None:
    chosen = TrainingOptions(steps=100, warmup_steps=0, learning_rate=1.0).resolve()
    rates = [learning_rate(step, chosen) for step in range(1, 101)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 3e-4


def test_the_steps_report_the_schedule_they_followed() -> None:
    chosen = options()
    steps = list(train(tiny_model(), random_rows(8), options=chosen))
    assert [step.step for step in steps] == list(range(1, 21))
    assert [step.learning_rate for step in steps] == [learning_rate(step, chosen) for step in range(1, 21)]
    assert all(step.tokens_per_second > 0 for step in steps)


def test_the_learning_rate_reported_is_the_one_used() -> None:
    """AdamW's first step moves each weight with a gradient by the learning rate, whatever the gradient's size."""
    model = tiny_model()
    before = model.h[0].mlp.c_fc.bias.detach().clone()
    first = next(train(model, random_rows(8), options=options(warmup_steps=10)))
    moved = (model.h[0].mlp.c_fc.bias.detach() - before).abs()
    assert moved.median().item() == pytest.approx(first.learning_rate, rel=1e-3)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_matrices_decay(name: str) -> None:
    model = tiny_model()
    optimizer = make_optimizer(model, options(weight_decay=0.1, optimizer=name))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters())) == sum(len(g["params"]) for g in optimizer.param_groups)
    for name, parameter in model.named_parameters():
        vector = name.endswith("bias") or ".ln_" in name or name.startswith("ln_f")
        assert decay[id(parameter)] == (0.0 if vector else 0.1), name


def test_adamw_takes_torchs_steps_fused_or_not() -> None:
    fused, plain, torchs = models = tiny_model(), tiny_model(), tiny_model()
    chosen = options(optimizer="adamw", weight_decay=0.1)
    optimizers = [make_optimizer(model, chosen, fused=model is fused) for model in (fused, plain)]
    groups = [
        {"params": [weight for weight in torchs.parameters() if (weight.ndim > 1) is decays], "weight_decay": decay}
        for decays, decay in ((True, 0.1), (False, 0.0))
    ]
    betas = (chosen.beta1, chosen.beta2)
    oracle = torch.optim.AdamW(groups, lr=chosen.learning_rate, betas=betas, fused=True)
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        for weights in zip(*(model.parameters() for model in models), strict=True):
            gradient = torch.randn(weights[0].shape, generator=generator)
            for weight in weights:
                weight.grad = gradient.clone()
        for optimizer in (*optimizers, oracle):
            optimizer.step()
    for a, b, c in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        assert torch.equal(a, c)


def test_muon_moves_the_matrices_of_the_layers_and_adamw_the_rest() -> None:
    ours, plain, torchs = tiny_model(), tiny_model(), tiny_model()
    chosen = options(learning_rate=1e-2, weight_decay=0.1, optimizer="adamw")
    stepping = [make_optimizer(ours, options(**dict(chosen) | {"optimizer": "muon"})), make_optimizer(plain, chosen)]
    hidden = {name for name, weight in ours.named_parameters() if name.startswith("h.") and weight.ndim == 2}
    assert len(hidden) == 8
    single = {name: weight for name, weight in torchs.named_parameters() if name in hidden and "c_attn" not in name}
    oracle = torch.optim.Muon(single.values(), lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        for parameters in zip(ours.parameters(), plain.parameters(), torchs.parameters(), strict=True):
            gradient = torch.randn(parameters[0].shape, generator=generator)
            for parameter in parameters:
                parameter.grad = gradient.clone()
        for optimizer in (*stepping, oracle):
            optimizer.step()
    for name, weight in ours.named_parameters():
        if name not in hidden:
            assert torch.equal(weight, plain.get_parameter(name)), name
    for name, weight in single.items():
        torch.testing.assert_close(ours.get_parameter(name), weight, rtol=0, atol=8e-4)  # both round to bfloat16


def test_muons_steps_are_as_long_as_adamws_and_its_queries_keys_and_values_are_three() -> None:
    model = tiny_model()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = make_optimizer(model, options(learning_rate=1.0, weight_decay=0.0, optimizer="muon"))
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    query_gradient = model.h[0].attn.c_attn.weight.grad[:32]
    query_gradient *= 1000  # what one of the three feels does not change the step of the others
    optimizer.step()
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        step = model.get_parameter(f"h.0.{name}.weight") - before[f"h.0.{name}.weight"]
        for part in step.chunk(3 if name == "attn.c_attn" else 1):
            assert part.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25), name


def test_muon_overfits_one_batch_with_the_learning_rate_of_adamw() -> None:
    chosen = options(steps=150, learning_rate=1e-2, optimizer="muon")
    *_, last = train(tiny_model(), random_rows(4), options=chosen)
    assert last.train_loss < 0.05


def test_gradients_are_clipped_and_their_norm_is_told_before() -> None:
    model = tiny_model()
    chosen = options(clip=1e-3)
    first = next(train(model, random_rows(8), options=chosen))
    clipped = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
    assert clipped == pytest.approx(1e-3, rel=1e-2)
    unclipped = next(train(tiny_model(), random_rows(8), options=options(clip=1e6)))
    assert first.grad_norm == pytest.approx(unclipped.grad_norm)
    assert first.grad_norm > 0.1


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.ln_f.weight[0] = math.nan
    before = weights(model)
    with pytest.raises(TrainingDiverged, match=r"the loss is not finite at step 1 .*; try a lower learning_rate$"):
        next(train(model, random_rows(8), options=options()))
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(before, weights(model), strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_stops_before_the_step(bad: float) -> None:
    model = tiny_model()
    steps = train(model, random_rows(8), options=options())
    list(islice(steps, 3))
    before = weights(model)
    model.h[1].attn.c_proj.weight.register_hook(lambda gradient: gradient * bad)
    with pytest.raises(TrainingDiverged, match="the gradient is not finite at step 4"):
        next(steps)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert not model.training


def test_validation_is_measured_now_and_then_and_at_the_end() -> None:
    model, held_out = tiny_model(), random_rows(5, seed=9)
    chosen = options(steps=25, evaluate_every=10, batch_size=4)
    steps = list(train(model, random_rows(50), options=chosen, validation=held_out))
    assert [step.step for step in steps if step.validation_loss is not None] == [10, 20, 25]
    assert steps[-1].validation_loss == pytest.approx(evaluate(model, held_out), abs=1e-6)


def test_a_short_text_is_measured_as_soon_as_it_was_read() -> None:
    chosen = options(steps=41, evaluate_every=40, batch_size=4, patience=0)
    steps = list(train(tiny_model(), random_rows(40), options=chosen, validation=random_rows(5, seed=9)))
    assert [step.step for step in steps if step.validation_loss is not None] == [10, 20, 40, 41]


def test_validation_does_not_change_the_run() -> None:
    def losses(validation: Tensor | None) -> list[float]:
        torch.manual_seed(4)  # of the dropout
        model = tiny_model(dropout=0.2)
        chosen = options(evaluate_every=2, patience=0)
        return [step.train_loss for step in train(model, random_rows(8), options=chosen, validation=validation)]

    assert losses(None) == losses(random_rows(5, seed=9))


def test_evaluate_is_the_mean_over_all_rows_without_dropout() -> None:
    model = tiny_model(dropout=0.5).train()
    rows = random_rows(7)
    each = [evaluate(model, row[None]) for row in rows]
    assert evaluate(model, rows, batch_size=3) == pytest.approx(sum(each) / 7, abs=1e-6)
    assert model.training


def test_every_pass_covers_every_row_once_in_a_new_order() -> None:
    loader = Loader(TableRows(torch.arange(10)[:, None]), seed=1)
    seen = torch.cat([loader.batch(position, 4) for position in range(0, 20, 4)]).flatten().tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert loader.batch(3, 17).flatten().tolist() == seen[3:]
    assert len(loader.batch(0, 25)) == 25


def test_a_run_can_be_left_and_leaves_a_usable_model() -> None:
    model = tiny_model()
    steps = train(model, random_rows(8), options=options())
    assert isinstance(next(steps), TrainingStep)
    steps.close()
    assert not model.training


def test_bfloat16_learns_the_same_and_keeps_float32_weights() -> None:
    results = {}
    for bfloat16 in (False, True):
        model = tiny_model()
        *_, last = train(
            model,
            random_rows(4),
            options=options(steps=60, learning_rate=1e-2, precision="bfloat16" if bfloat16 else "float32"),
        )
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        results[bfloat16] = last.train_loss
    assert results[True] == pytest.approx(results[False], abs=0.15)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (random_rows(4, width=18), r"rows of 2 to 17 tokens for this model, not \(4, 18\)"),
        (random_rows(4, width=1), r"not \(4, 1\)"),
        (random_rows(4)[0], r"not \(17,\)"),
        (random_rows(0), r"not \(0, 17\)"),
        (random_rows(4) + 1, "the tokens go from 1 to 40, outside the 40 known"),
    ],
)
def test_rows_that_do_not_suit_the_model_are_refused(rows: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        next(train(tiny_model(), rows, options=options()))
    with pytest.raises(ValueError, match=sentence):
        next(train(tiny_model(), random_rows(4), options=options(), validation=rows))


def test_options_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^warmup_steps must be less than the 10 steps, not 10$"):
        TrainingOptions(steps=10, warmup_steps=10)
    with pytest.raises(ValueError, match=r"^learning_rate must be greater than 0, not -1"):
        options(learning_rate=-1)


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    torch.manual_seed(1)
    config = GPTConfig(vocab_size=65, block_size=64, n_layer=2, n_head=4, n_embd=128)
    rows = torch.randint(65, (64, 65), generator=torch.Generator().manual_seed(2))
    assert evaluate(GPT(config), rows) == pytest.approx(math.log(65) + 128 * 0.02**2 / 2, abs=0.06)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_those_of_transformers(tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    model = GPT(GPTConfig(vocab_size=40, block_size=16, n_layer=2, n_head=2, n_embd=32, tied=tied))
    config = layout.config_to_json(model.config)
    oracle = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config, attn_implementation="eager"))
    rows = random_rows(4)
    stored = {tensor.name: tensor for tensor in layout.stored_tensors(model.config)}
    theirs = dict(oracle.named_parameters())
    ours = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in ours.items():
            value = weight.t() if stored[name].transposed else weight
            theirs[stored[name].stored_name].copy_(value)
    loss = model.loss(rows[:, :-1], rows[:, 1:])
    loss.backward()
    logits = oracle(rows[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for name, weight in ours.items():
        gradient = theirs[stored[name].stored_name].grad
        assert gradient is not None
        gradient = gradient.t() if stored[name].transposed else gradient
        assert weight.grad is not None
        assert (weight.grad - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_is_the_batch(parts: int) -> None:
    def run(accumulation: int) -> tuple[list[float], list[Tensor]]:
        model = tiny_model()
        chosen = options(batch_size=8, accumulation=accumulation, steps=5, optimizer="adamw", learning_rate=1e-3)
        steps = list(train(model, random_rows(20), options=chosen))
        return [step.train_loss for step in steps], weights(model)

    losses, trained = run(parts)
    whole, expected = run(1)
    assert losses == pytest.approx(whole, abs=1e-5)
    for a, b in zip(trained, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


def test_the_mean_of_the_weights_is_kept_and_training_goes_on_from_the_others() -> None:
    def trainer(average: float) -> Trainer:
        chosen = options(average=average, evaluate_every=5)
        return Trainer(tiny_model(), TableRows(random_rows(8)), options=chosen, validation=random_rows(8))

    plain, averaged = trainer(0.0), trainer(0.5)
    trail: list[list[Tensor]] = []
    losses = [[step.train_loss for step in one.run()] for one in (plain, averaged)]
    assert losses[0] == losses[1]
    again = trainer(0.0)
    mean = weights(again.model)
    for step in again.run():
        trail.append(weights(again.model))
        memory = min(0.5, step.step / (step.step + 9))
        mean = [memory * old + (1 - memory) * new for old, new in zip(mean, trail[-1], strict=True)]
    with averaged.saved_weights() as model:
        for kept, expected in zip(weights(model), mean, strict=True):
            torch.testing.assert_close(kept, expected, rtol=0, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(weights(averaged.model), trail[-1], strict=True))


def test_a_state_of_another_run_is_refused() -> None:
    one = Trainer(tiny_model(), TableRows(random_rows(8)), options=options())
    other = Trainer(tiny_model(), TableRows(random_rows(8)), options=options(average=0.9))
    list(islice(one.run(), 2))
    with pytest.raises(ValueError, match=r"^the saved state is that of another run"):
        other.restore(one.state())


def test_a_run_ends_when_its_validation_loss_has_risen_for_long() -> None:
    chosen = options(steps=500, learning_rate=2e-2, evaluate_every=5, patience=3, batch_size=8)
    trainer = Trainer(tiny_model(), TableRows(random_rows(8)), options=chosen, validation=random_rows(8, seed=3))
    steps = list(trainer.run())
    assert trainer.ended == "patience"
    assert len(steps) == trainer.best_step + 15
    assert [step.step for step in steps if step.best][-1] == trainer.best_step
    assert not list(trainer.run())


def test_a_linear_schedule_ends_at_its_floor() -> None:
    chosen = TrainingOptions(steps=100, warmup_steps=10, learning_rate=1.0, schedule="linear", floor=0.1).resolve()
    rates = [learning_rate(step, chosen) for step in range(1, 102)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)


def test_a_published_log_comes_out_of_the_schedule() -> None:
    """That log printed after each step the rate of the next one, and numbered its steps from 0."""
    chosen = TrainingOptions(steps=5000, warmup_steps=500, learning_rate=3e-4).resolve()
    printed = {0: 1.2e-06, 50: 3.12e-05, 1000: 2.909180e-04, 2500: 1.759441e-04, 4950: 8.775781e-08, 4999: 0.0}
    for step, rate in printed.items():
        assert learning_rate(step + 2, chosen) == pytest.approx(rate, rel=2e-7)


@pytest.mark.parametrize("skipped", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_loss_of_a_large_vocabulary_is_the_same_in_pieces(skipped: bool, autocast: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(600, 16), torch.randn(300, 16)
    targets = torch.randint(300, (600,))
    if skipped:
        targets[::3] = -100
    results = []
    for pieces in (True, False):
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if pieces:
                loss = linear_cross_entropy(x, weight, targets)
            else:
                loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, weight), targets)
        (3 * loss).backward()
        assert x.grad is not None
        assert weight.grad is not None
        results.append((loss.detach(), x.grad, weight.grad))
    for ours, expected in zip(*results, strict=True):
        assert (ours - expected).norm() <= (2e-2 if autocast else 1e-5) * expected.norm()


@pytest.mark.parametrize("tied", [True, False])
def test_a_large_vocabulary_trains_with_that_loss(tied: bool) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=9000, block_size=8, n_layer=1, n_head=1, n_embd=16, tied=tied))
    rows = torch.randint(9000, (3, 9), generator=torch.Generator().manual_seed(2))
    loss = model.loss(rows[:, :-1], rows[:, 1:])
    expected = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert evaluate(model, rows) == pytest.approx(loss.item(), abs=1e-5)
    *_, last = train(model, rows, options=options(steps=100, learning_rate=3e-2))
    assert last.train_loss < 1


def test_defaults_suit_what_else_was_chosen() -> None:
    def resolved(*, base_model: bool = False, **chosen: object) -> ResolvedTraining:
        return TrainingOptions(**chosen).resolve(base_model=base_model)

    assert (resolved().warmup_steps, resolved().evaluate_every) == (50, 100)
    assert (resolved(steps=60).warmup_steps, resolved(steps=60).evaluate_every) == (6, 4)
    assert (resolved(steps=1).warmup_steps, resolved(steps=1).evaluate_every) == (0, 1)
    assert resolved(steps=60, evaluate_every=30, warmup_steps=0).evaluate_every == 30
    assert resolved(steps=60, warmup_steps=0).warmup_steps == 0
    rates = [resolved(optimizer=name, base_model=base).learning_rate for name in ("muon", "adamw") for base in (0, 1)]
    assert rates == [6e-3, 5e-4, 2e-3, 5e-4]
    assert resolved(optimizer="adamw", base_model=True, learning_rate=6e-3).learning_rate == 6e-3
    chosen = resolved(steps=60, optimizer="adamw")
    assert chosen.resolve(base_model=True) == chosen  # nothing is left to choose


def test_a_budget_keeps_the_shape_of_a_run() -> None:
    whole = TrainingOptions(steps=1000, warmup_steps=100, evaluate_every=50).resolve()
    half = whole.ending_after(500)
    assert (half.steps, half.warmup_steps, half.evaluate_every) == (500, 50, 25)
    assert whole.ending_after(2000) == whole
