"""What a question costs in copies of theta is what its docstring says, measured at six million parameters."""

import threading
import time

import psutil
import pytest
import torch
from torch import nn

import kdlandscape as kdl

WIDTH = 1750


@pytest.fixture(scope="module")
def objective():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1700))
    data = torch.randn(8, 64), torch.randint(10, (8,))
    return kdl.Objective(module, nn.CrossEntropyLoss(), data)


def peak_copies(objective, function):
    """Return the peak of resident memory while the function runs, in copies of theta, without what was there before."""
    process, peak, stop = psutil.Process(), [0], threading.Event()

    def watch():
        while not stop.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.002)

    function()  # code, graphs and allocator are warm
    before = process.memory_info().rss
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        function()
    finally:
        stop.set()
        thread.join()
    return (peak[0] - before) / objective.theta.nbytes


def test_a_path_costs_a_few_copies_however_many_points(objective):
    assert objective.dim > 6e6
    end = objective.theta + 0.01
    assert peak_copies(objective, lambda: kdl.interpolate(objective, objective.theta, end, t=51)) < 6.5


def test_a_plane_costs_a_few_copies_beside_its_directions(objective):
    directions = torch.randn(2, objective.dim, generator=torch.Generator().manual_seed(0))
    assert peak_copies(objective, lambda: kdl.slice_plane(objective, objective.theta, directions, x=9, y=9)) < 6.5
