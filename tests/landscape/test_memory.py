"""The peak memory of each question at 6 million parameters, in copies of theta, against what the docstring says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
SCRIPT = """
import json, sys, torch
from pathlib import Path
import kdlandscape as kdl

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(1500, 2000), torch.nn.Tanh(), torch.nn.Linear(2000, 1500))
data = torch.randn(8, 1500), torch.randint(1500, (8,))
objective = kdl.Objective(net, torch.nn.CrossEntropyLoss(), data)
h, g = kdl.hessian(objective, net), kdl.ggn(objective, net)
h @ h.theta, g @ g.theta
copies = {}
for question in json.loads(sys.argv[1]):
    h.found.clear(), g.found.clear()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    eval(question)
    copies[question] = (resident("VmHWM") - before) / h.theta.nbytes
print(json.dumps([copies, h.dim]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure the peak")
def test_no_question_takes_more_copies_of_theta_than_its_docstring_says():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(list(QUESTIONS))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    copies, dim = json.loads(done.stdout)
    assert dim > 6_000_000
    too_many = {q: round(got) for q, got in copies.items() if got > QUESTIONS[q] + PRODUCT}
    assert not too_many, f"expected {QUESTIONS} and {PRODUCT}; got {copies}"
