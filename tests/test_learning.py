"""`learn_kernel`: the book's run, rates that cannot diverge, every argument, bad input."""

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import convpool
from convpool import DivergenceError, conv2d, learn_kernel, reference
from convpool._typing import Array

BARS = np.ones((6, 8))
BARS[:, 2:6] = 0
EDGES = BARS[:, :-1] - BARS[:, 1:]
TRUE = np.array([[1.0, -1.0]])


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def corners(image: Array) -> Array:
    return np.diff(np.diff(image, axis=0), axis=1)


# The book's run, section 6.2.4


def test_book_run() -> None:
    # The book does not show where its run starts: undoing ten steps from its kernel leads here.
    start = [[-0.91235727, 0.01017820]]
    learned = learn_kernel(BARS, EDGES, (1, 2), lr=3e-2, epochs=10, initial=start)
    assert_allclose(learned.kernel, [[0.93471736, -1.0315881]], atol=1e-7)
    assert [f"{loss:.3f}" for loss in learned.losses[1::2]] == [
        "18.309", "4.961", "1.606", "0.587", "0.228",
    ]  # fmt: skip
    assert learned.bias is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seeds(dtype: type) -> None:
    # Of the seeds 0 to 999, 88 % end within 0.1 of [1, -1], all within 0.15.
    x, y = BARS.astype(dtype), EDGES.astype(dtype)
    runs = [learn_kernel(x, y, (1, 2), seed=seed) for seed in range(100)]
    errors = np.array([np.abs(run.kernel - TRUE).max() for run in runs])
    assert (errors < 0.1).sum() == 91
    assert errors.max() < 0.15
    assert all((np.diff(run.losses) < 0).all() for run in runs)
    assert {run.kernel.dtype for run in runs} == {np.dtype(dtype)}
    assert {run.losses.dtype for run in runs} == {np.dtype(np.float64)}


def test_verbose_prints_as_the_book(capsys: pytest.CaptureFixture[str]) -> None:
    start = [[-0.91235727, 0.01017820]]
    learn_kernel(BARS, EDGES, (1, 2), initial=start, verbose=True)
    assert capsys.readouterr().out == (
        "epoch 2, loss 18.309\n"
        "epoch 4, loss 4.961\n"
        "epoch 6, loss 1.606\n"
        "epoch 8, loss 0.587\n"
        "epoch 10, loss 0.228\n"
    )
    learn_kernel(BARS, EDGES, (1, 2), seed=0, epochs=100, verbose=True)
    epochs = [line.split(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert epochs == [f"epoch {epoch}" for epoch in range(10, 101, 10)]


def test_initial_is_glorot_uniform() -> None:
    x, y = np.zeros((1, 6, 9, 9)), np.zeros((1, 4, 7, 7))
    learned = learn_kernel(x, y, 3, groups=2, epochs=0, seed=5)
    assert learned.kernel.shape == (4, 3, 3, 3)
    assert learned.losses.shape == (0,)
    # Keras' fans of a kernel (kh, kw, C_in / groups, C_out).
    limit = np.sqrt(6 / ((3 + 4) * 9))
    assert 0.9 * limit < np.abs(learned.kernel).max() <= limit
    again = learn_kernel(x, y, 3, groups=2, epochs=0, seed=5)
    assert_array_equal(learned.kernel, again.kernel)


# lr="auto"


def used_rate(x: Array, y: Array, size: Any, **arguments: Any) -> float:
    """Tell the rate from the first step, which is ``-lr * gradient``."""
    w = np.zeros_like(learn_kernel(x, y, size, epochs=0, **arguments).kernel)
    learned = learn_kernel(x, y, size, lr="auto", epochs=1, initial=w, **arguments)
    geometry = {k: v for k, v in arguments.items() if k not in ("bias", "batch_size", "seed")}
    gradient = -2 * convpool.conv2d_grad_weight(y, x, size, **geometry)
    at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    return float(-learned.kernel[at] / gradient[at])


def largest_eigenvalue(
    x: Array, size: Any, groups: int = 1, bias: bool = False, **geometry: Any
) -> float:
    """Twice that of the Gram matrix of the reference's windows, the Hessian's."""
    largest = 0.0
    for part in np.split(x, groups, axis=1):
        cols = np.concatenate(list(reference.im2col(part, size, **geometry)), axis=1)
        if bias:
            cols = np.vstack([cols, np.ones(cols.shape[1])])
        largest = max(largest, 2 * np.linalg.eigvalsh(cols @ cols.T)[-1])
    return largest


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"bias": True},
        {"groups": 2},
        {"groups": 4, "bias": True, "padding": 1},
        {"stride": (2, 1), "padding": ((1, 0), (2, 3)), "pad_value": 1.5, "bias": True},
        {"dilation": 2, "padding": "same"},
    ],
)
def test_auto_is_the_exact_lipschitz_bound(arguments: dict[str, Any]) -> None:
    x = normal(3, 4, 8, 9) + 0.5
    shape = (8, 4 // arguments.get("groups", 1), 2, 3)
    y = conv2d(x, normal(*shape), **{k: v for k, v in arguments.items() if k != "bias"})
    expected = 1 / largest_eigenvalue(x, (2, 3), **arguments)
    assert_allclose(used_rate(x, y, (2, 3), **arguments), expected, rtol=1e-9)


def test_auto_nhwc() -> None:
    x = normal(3, 4, 8, 9)
    y = conv2d(x, normal(2, 4, 2, 3))
    learned = learn_kernel(x, y, (2, 3), lr="auto", seed=1)
    x, y = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    nhwc = learn_kernel(x, y, (2, 3), lr="auto", seed=1, layout="NHWC")
    assert_allclose(nhwc.kernel, learned.kernel, rtol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_auto_for_large_kernels_is_a_bound(bias: bool) -> None:
    x = normal(1, 11, 9, 9) + 1
    y = conv2d(x, normal(2, 11, 5, 5), padding=1)
    exact = 1 / largest_eigenvalue(x, 5, bias=bias, padding=1)
    rate = used_rate(x, y, 5, bias=bias, padding=1)
    assert exact / 275 < rate <= exact


HOSTILE = {
    "large": 1e4 * normal(20, 20),
    "small": 1e-4 * normal(20, 20),
    "large and small": normal(20, 20) * 10.0 ** np.linspace(-6, 6, 20),
    "offset": 1e3 + normal(20, 20),
    "ramp": np.add.outer(np.arange(20.0), np.arange(20.0)),
    "constant": np.full((20, 20), 7.0),
    "one pixel": np.pad([[1e6]], 10),
    "nothing": np.zeros((20, 20)),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_auto_never_raises_the_loss(name: str, bias: bool) -> None:
    x = HOSTILE[name]
    noise = normal(*x.shape, seed=2)[2:, 2:] * np.abs(x).max()
    y = conv2d(x[None], normal(1, 1, 3, 3, seed=1))[0] + 3 + noise
    losses = learn_kernel(x, y, 3, lr="auto", epochs=60, bias=bias, seed=0).losses
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    assert name == "nothing" or losses[-1] < losses[0]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.999])
def test_auto_with_momentum_stays_bounded(momentum: float) -> None:
    for name, x in HOSTILE.items():
        y = conv2d(x[None], normal(1, 1, 3, 3, seed=1))[0] + 3
        losses = learn_kernel(x, y, 3, lr="auto", epochs=300, momentum=momentum, seed=0).losses
        # From rest and with lr = 1/L a mode overshoots to 2/sqrt(3) at most.
        assert losses.max() <= 4 / 3 * losses[0], name


def test_auto_bounds_the_worst_batch() -> None:
    x = normal(6, 1, 9, 9) * np.array([1, 1, 1, 1, 1, 50]).reshape(6, 1, 1, 1)
    y = conv2d(x, normal(1, 1, 3, 3)) + normal(6, 1, 7, 7, seed=1)
    for batch_size in (1, 2, 4):
        run = learn_kernel(x, y, 3, lr="auto", epochs=30, batch_size=batch_size, seed=3)
        assert run.losses[-1] < run.losses[0]


# Diverging runs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lr", [0.04, 0.5, 1e30])
def test_divergence(dtype: type, lr: float) -> None:
    x, y = BARS.astype(dtype), EDGES.astype(dtype)
    with pytest.raises(DivergenceError, match=r"learning diverges: with lr=.* by epoch") as caught:
        learn_kernel(x, y, (1, 2), lr=lr, epochs=100, seed=0)
    error = caught.value
    assert isinstance(error, ArithmeticError)
    assert error.lr == lr
    assert len(error.losses) in (error.epoch, error.epoch + 1)
    assert f"lr={error.suggested_lr:g}" in str(error)
    assert f"{error.losses[0]:.4g}" in str(error)
    assert f"epoch {error.epoch};" in str(error)
    learned = learn_kernel(x, y, (1, 2), lr=error.suggested_lr, epochs=200, seed=0)
    assert_allclose(learned.kernel, TRUE, atol=1e-3)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)


def test_divergence_in_the_last_update() -> None:
    with pytest.raises(DivergenceError):
        learn_kernel(BARS, EDGES, (1, 2), lr=1.0, epochs=1, seed=0)


def test_divergence_of_small_batches_with_momentum() -> None:
    x = normal(8, 1, 9, 9)
    y = conv2d(x, normal(1, 1, 3, 3))
    with pytest.raises(DivergenceError) as caught:
        learn_kernel(x, y, 3, lr=0.1, epochs=100, batch_size=2, momentum=0.9, seed=0)
    lr = caught.value.suggested_lr
    assert lr < 0.1
    learn_kernel(x, y, 3, lr=lr, epochs=100, batch_size=2, momentum=0.9, seed=0)


def test_a_large_start_does_not_count_as_divergence() -> None:
    start = [[1e6, 1e6]]
    learned = learn_kernel(BARS, EDGES, (1, 2), lr="auto", epochs=200, initial=start)
    assert_allclose(learned.kernel, TRUE, atol=1e-3)


# Every argument


@pytest.mark.parametrize(
    ("c_in", "c_out", "arguments"),
    [
        (1, 1, {}),
        (3, 2, {}),
        (4, 6, {"groups": 2}),
        (3, 3, {"groups": 3}),
        (2, 2, {"stride": (2, 1)}),
        (2, 2, {"padding": ((1, 0), (0, 2)), "pad_value": 0.5}),
        (2, 2, {"padding": "same", "dilation": 2}),
        (2, 2, {"padding": -1}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_recovers_kernel_and_bias(
    c_in: int, c_out: int, arguments: dict[str, Any], bias: bool
) -> None:
    x = normal(4, c_in, 10, 11)
    weight = normal(c_out, c_in // arguments.get("groups", 1), 2, 3, seed=1)
    b = normal(c_out, seed=2) if bias else None
    y = conv2d(x, weight, b, **arguments)
    learned = learn_kernel(
        x, y, (2, 3), lr="auto", epochs=150, momentum=0.5, bias=bias, seed=0, **arguments
    )
    assert_allclose(learned.kernel, weight, atol=1e-6)
    if b is None:
        assert learned.bias is None
    else:
        assert_allclose(learned.bias, b, atol=1e-6)


def test_dimensions() -> None:
    x = normal(9, 10)
    y = conv2d(x[None], normal(1, 1, 2, 2))[0]
    plane = learn_kernel(x, y, 2, lr="auto", seed=0)
    image = learn_kernel(x[None], y[None], 2, lr="auto", seed=0)
    batch = learn_kernel(x[None, None], y[None, None], 2, lr="auto", seed=0)
    nhwc = learn_kernel(x[..., None], y[..., None], 2, lr="auto", seed=0, layout="NHWC")
    assert plane.kernel.shape == (2, 2)
    assert image.kernel.shape == batch.kernel.shape == nhwc.kernel.shape == (1, 1, 2, 2)
    for other in (image, batch, nhwc):
        assert_allclose(other.kernel[0, 0], plane.kernel, rtol=1e-12)


def test_integers_are_float64() -> None:
    x = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    y = x[:, :-1].astype(int) - x[:, 1:]
    learned = learn_kernel(x, y, (1, 2), lr="auto", epochs=200, seed=0)
    assert learned.kernel.dtype == np.float64
    assert_allclose(learned.kernel, TRUE, atol=1e-6)
    mixed = learn_kernel(x, y.astype(np.float32), (1, 2), lr="auto", epochs=0)
    assert mixed.kernel.dtype == np.float64


def test_heavy_ball_follows_its_definition() -> None:
    x, y = normal(2, 1, 6, 6), normal(2, 1, 5, 5, seed=1)
    weight, step = normal(1, 1, 2, 2, seed=2), np.zeros((1, 1, 2, 2))
    start, losses, lr, momentum = weight, [], 1e-3, 0.7
    for _ in range(5):
        error = conv2d(x, weight) - y
        losses.append((error**2).sum())
        step = momentum * step - lr * 2 * convpool.conv2d_grad_weight(error, x, 2)
        weight = weight + step
    learned = learn_kernel(x, y, 2, lr=lr, epochs=5, momentum=momentum, initial=start)
    assert_allclose(learned.kernel, weight, rtol=1e-12)
    assert_allclose(learned.losses, losses, rtol=1e-12)


def test_batches() -> None:
    x, weight = normal(7, 1, 8, 8), normal(1, 1, 3, 3, seed=1)
    y = conv2d(x, weight)

    def learn(batch_size: int | None, momentum: float = 0.0) -> convpool.LearnedKernel:
        return learn_kernel(
            x, y, 3, lr="auto", epochs=10, batch_size=batch_size, momentum=momentum, seed=4
        )

    full, all_in_one, small, again = learn(None), learn(7), learn(2), learn(2)
    assert_array_equal(full.losses, all_in_one.losses)
    assert_array_equal(small.losses, again.losses)
    assert small.losses[-1] < full.losses[-1]
    assert_allclose(small.kernel, weight, atol=1e-4)
    assert_allclose(learn(2, momentum=0.3).kernel, weight, atol=1e-4)


def test_batches_sum_the_loss_and_see_every_example() -> None:
    x, y = normal(5, 1, 4, 4), normal(5, 1, 3, 3, seed=1)
    start = normal(1, 1, 2, 2, seed=2)
    # With a rate this small the kernel stays, and the batch losses add up to the loss.
    run = learn_kernel(x, y, 2, lr=1e-300, epochs=3, batch_size=2, initial=start, seed=0)
    assert_allclose(run.losses, ((conv2d(x, start) - y) ** 2).sum(), rtol=1e-12)


def test_callback() -> None:
    seen: list[tuple[int, float, Array]] = []
    learned = learn_kernel(
        BARS, EDGES, (1, 2), seed=0, callback=lambda *state: seen.append(state), epochs=4
    )
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3, 4]
    assert [loss for _, loss, _ in seen] == learned.losses.tolist()
    assert_array_equal(seen[-1][2], learned.kernel)
    for (_, _, kernel), (_, loss, _) in itertools.pairwise(seen):
        assert kernel.shape == (1, 2)
        assert_allclose(((conv2d(BARS[None], kernel[None, None])[0] - EDGES) ** 2).sum(), loss)
        kernel[:] = np.nan  # a copy: the run does not notice


# Photographs

TAPS = np.arange(-2.0, 3.0)
BELL = np.exp(-(TAPS**2) / 2)
HIDDEN = {
    "gaussian": np.outer(BELL, BELL) / BELL.sum() ** 2,
    "sobel": np.outer([1.0, 4.0, 6.0, 4.0, 1.0], [-1.0, -2.0, 0.0, 2.0, 1.0]) / 8,
    "motion": np.eye(5)[::-1] / 5,
}


@pytest.fixture(scope="module")
def photograph() -> Array:
    cbook = pytest.importorskip("matplotlib.cbook")
    images = pytest.importorskip("matplotlib.image")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        pixels = images.imread(file)
    return (pixels @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)


@pytest.mark.parametrize("name", HIDDEN)
def test_photograph(photograph: Array, name: str) -> None:
    true = HIDDEN[name].astype(np.float32)
    y = conv2d(photograph[None], true[None, None])[0]
    for seed in range(3):
        learned = learn_kernel(
            corners(photograph), corners(y), 5, lr="auto", momentum=0.5, epochs=40, seed=seed
        )
        assert np.abs(learned.kernel - true).max() < 1e-5


def test_photograph_in_eight_bits(photograph: Array) -> None:
    true = HIDDEN["gaussian"]
    y = np.round(255 * conv2d(photograph[None], true[None, None])[0]) / 255
    learned = learn_kernel(
        corners(photograph), corners(y), 5, lr="auto", momentum=0.5, epochs=40, seed=0
    )
    assert np.abs(learned.kernel - true).max() < 1e-3


def test_photograph_with_heavy_ball(photograph: Array) -> None:
    small = photograph[200:300, 200:300].astype(np.float64)
    mean, true = small.mean(), HIDDEN["gaussian"]
    y = conv2d(small[None], true[None, None], padding=2)[0]
    learned = learn_kernel(
        small - mean, y, 5, lr="auto", momentum=0.985, epochs=1200, bias=True, seed=0,
        padding=2, pad_value=-mean,
    )  # fmt: skip
    assert np.abs(learned.kernel - true).max() < 1e-3
    assert learned.bias is not None
    assert_allclose(learned.bias, mean * true.sum(), atol=1e-3)


# Bad input


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y": np.ones((6, 8))}, "y has shape (6, 8), but conv2d makes (6, 7) of x (6, 8)"),
        ({"y": np.ones((1, 6, 7))}, "dimensions, not 2 and 3"),
        ({"x": np.ones(8), "y": np.ones(7)}, "dimensions, not 1 and 1"),
        ({"x": np.ones((2, 6, 8)), "y": np.ones((3, 6, 7)), "groups": 2}, "3"),
        ({"kernel_size": (7, 2)}, "7"),
        ({"kernel_size": 0}, "at least 1"),
        ({"stride": 0}, "stride"),
        ({"padding": "some"}, "padding"),
        ({"groups": 0}, "groups"),
        ({"layout": "CHW"}, "layout"),
        ({"lr": "fast"}, 'lr must be a number or "auto"'),
        ({"lr": 0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"lr": float("inf")}, "lr must be positive"),
        ({"epochs": -1}, "epochs must be at least 0, not -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"momentum": 1}, "momentum must be at least 0 and less than 1, not 1"),
        ({"momentum": -0.1}, "momentum"),
        ({"initial": np.ones((2, 1))}, "initial has shape (2, 1), but the kernel has (1, 2)"),
        ({"x": np.where(BARS, np.nan, 0)}, "x contains NaN or infinity"),
        ({"y": np.where(EDGES, np.inf, 0)}, "y contains NaN or infinity"),
        ({"x": BARS.astype("f") * 1e30, "y": EDGES.astype("f")}, "overflow"),
    ],
)
def test_bad_values(changed: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"x": BARS, "y": EDGES, "kernel_size": (1, 2), **changed}
    with pytest.raises(ValueError) as caught:
        learn_kernel(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"x": BARS.astype(str)}, TypeError),
        ({"x": np.ma.masked_array(BARS)}, TypeError),
        ({"kernel_size": 1.5}, TypeError),
        ({"kernel_size": (1, 2, 3)}, TypeError),
        ({"x": BARS.astype(complex)}, NotImplementedError),
    ],
)
def test_bad_types(changed: dict[str, Any], error: type[Exception]) -> None:
    arguments: dict[str, Any] = {"x": BARS, "y": EDGES, "kernel_size": (1, 2), **changed}
    with pytest.raises(error):
        learn_kernel(**arguments)
