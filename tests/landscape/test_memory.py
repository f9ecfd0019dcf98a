"""The peak memory of each question at 6 million parameters, in copies of theta, against what the docstring says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.memory import FORGET_PEAK

ROOT = Path(__file__).parents[2]
PRODUCT = 14  # vectors of a product, those of autograd included, and of a step of the method around it
QUESTIONS = {
    "h.top_eigenpairs(3, tol=1e-3, max_matvecs=25)": 25 + 11,
    "h.trace(rtol=0, max_matvecs=20)": 20 + 25,
    "h.trace(rtol=0, max_matvecs=24, method='hutchpp')": 16 + 20,
    "g.trace(rtol=0, max_matvecs=12, method='xnystrace')": 24,
    "h.trace(rtol=0.5, max_matvecs=16, method='hutchinson')": 32,
    "h.diagonal(max_matvecs=16)": 32,
    "h.quadrature(num_matvecs=12, num_draws=2)": 12,
}
WALKS = {
    "kdl.interpolate(objective, objective.theta, objective.theta + 0.01, t=51)": 6 + 1,  # the end, made here
    "kdl.slice_plane(objective, objective.theta, directions, x=9, y=9)": 6,
}
SCRIPT = """
import json, sys, torch
import kdlandscape as kdl
from tests.bench.memory import forget_peak, resident

WIDTH = 1750
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH))
data = torch.randn(8, WIDTH), torch.randint(WIDTH, (8,))
objective = kdl.Objective(net, torch.nn.CrossEntropyLoss(), data)
h, g = kdl.hessian(objective, net), kdl.ggn(objective, net)
directions = torch.randn(2, objective.dim)
h @ h.theta, g @ g.theta, objective.value(objective.theta)
copies = {}
for question in json.loads(sys.argv[1]):
    h.found.clear(), g.found.clear()
    before = resident()
    forget_peak()
    eval(question)
    copies[question] = 1024 * (resident("VmHWM") - before) / h.theta.nbytes
print(json.dumps([copies, h.dim]))
"""
# What a process holds depends on which freed blocks its allocator keeps: large ones go back at once with these.
EAGER = {"MALLOC_MMAP_THRESHOLD_": str(2**22), "MALLOC_TRIM_THRESHOLD_": str(2**22)}


def copies_of(questions, **environment):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(list(questions))]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True)
    copies, dim = json.loads(done.stdout)
    assert dim > 6_000_000
    return copies


@pytest.mark.slow
@pytest.mark.skipif(not FORGET_PEAK.exists(), reason="needs Linux to measure the peak")
def test_no_question_takes_more_copies_of_theta_than_its_docstring_says():
    copies = copies_of(QUESTIONS)
    too_many = {q: round(got) for q, got in copies.items() if got > QUESTIONS[q] + PRODUCT}
    assert not too_many, f"expected {QUESTIONS} and {PRODUCT}; got {copies}"


@pytest.mark.skipif(not FORGET_PEAK.exists(), reason="needs Linux to measure the peak")
def test_paths_and_planes_take_few_copies_of_theta_however_many_points():
    copies = copies_of(WALKS, **EAGER)
    assert all(got < WALKS[walk] for walk, got in copies.items()), f"expected {WALKS}; got {copies}"
