"""Two processes: gathered loss and averaged gradients of one step equal one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from helpers.parts import relative, source_checkpoint
from helpers.run_parts import Quiet, trial
from helpers.tiny import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from transferkit.runner.prepare import Inputs, prepare, resolved
from transferkit.training.distributed import any_process, average_gradients, from_main, total, world
from transferkit.training.lessons import teach
from transferkit.training.step import backward


def one_step(tiny: Tiny, source: Path) -> tuple[float, dict[str, Tensor]]:
    """Loss of this process's rows and the averaged gradients of the first batch, by every kind of training."""
    gradients: dict[str, Tensor] = {}
    losses = 0.0
    for task, micro in (("train", None), ("adapt", 3)):
        one = trial(tiny, tiny.recipe(task), source=source if task == "adapt" else None)
        parameters = [p for group in one.embedder.trainable().values() for p in group]
        for step in (0, 1):  # one batch with labels and one without
            batch = one.data.batch(step).slice(*world())
            loss = backward(one.embedder, batch, one.recipe.loss, micro_batch_size=micro, seed=0, step=step)
            losses += float(loss)
        average_gradients(parameters)
        gradients |= {f"{task}.{n}": p.grad for n, p in one.embedder.named_parameters() if p.grad is not None}
    return losses, gradients


def one_taught_step(tiny: Tiny, source: Path) -> tuple[float, dict[str, Tensor]]:
    """The same of texts alone and of pairs with a teacher, who has read this process's share."""
    texts = {"name": "texts", "kind": "texts", "path": "intents.csv"}
    data = tiny.mapping("adapt")["data"] | {"train": [texts, *tiny.mapping("adapt")["data"]["train"]]}
    recipe = resolved(tiny.recipe("adapt", data=data, teacher={"weight": 0.5}, optim={"steps": 8}), source=source)
    one = prepare(recipe, Inputs(source=source, data_dir=tiny.data))
    assert one.teacher is not None
    with TemporaryDirectory() as folder:
        lessons, *_ = teach(one.teacher, recipe, one.data, [], Quiet(), folder=Path(folder))
    losses, seen = 0.0, set()
    for step in range(recipe.optim.steps):
        batch = one.data.batch(step).slice(*world())
        seen.add(batch.set_name)
        options = {"micro_batch_size": None, "seed": 0, "step": step, "lessons": lessons}
        losses += float(backward(one.embedder, batch, recipe.loss, **options))
    assert seen >= {"texts", "pairs"}
    parameters = [p for group in one.embedder.trainable().values() for p in group]
    average_gradients(parameters)
    return losses, {f"taught.{n}": p.grad for n, p in one.embedder.named_parameters() if p.grad is not None}


def all_steps(tiny: Tiny, source: Path) -> tuple[float, dict[str, Tensor]]:
    """Both, their losses summed."""
    (first, plain), (second, taught) = one_step(tiny, source), one_taught_step(tiny, source)
    return first + second, plain | taught


def check_exchange(rank: int) -> None:
    """What the processes tell each other, and gradients that one of them or both lack."""
    assert from_main("said" if rank == 0 else None) == "said"
    assert total(rank + 1, device=torch.device("cpu")) == 3
    assert any_process(rank == 1, device=torch.device("cpu"))
    assert not any_process(False, device=torch.device("cpu"))
    both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.full((2,), float(rank))
    one.grad = torch.full((2,), 4.0) if rank == 1 else None
    average_gradients([both, one, none])
    assert both.grad.tolist() == [0.5, 0.5]
    assert one.grad is not None
    assert one.grad.tolist() == [2.0, 2.0]
    assert none.grad is None


def main(root: str, source: str, results: str) -> None:
    """What each process runs."""
    # They meet at a file: a port that was free a moment ago may be another test's by now.
    number, of = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group("gloo", init_method=f"file://{results}/meet", rank=number, world_size=of)
    rank, _ = world()
    check_exchange(rank)
    loss, gradients = all_steps(Tiny(Path(root)), Path(source))
    save_file({name: g.contiguous() for name, g in gradients.items()}, Path(results) / f"{rank}.safetensors")
    (Path(results) / f"{rank}.json").write_text(json.dumps(loss))
    sys.stdout.flush()
    torch.distributed.barrier()
    os._exit(0)  # gloo may abort while the interpreter shuts down


def test_two_processes_equal_one(tiny: Tiny, tmp_path: Path) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path}
    arguments = [sys.executable, __file__, str(tiny.root), str(source), str(tmp_path)]
    processes = [
        subprocess.Popen(arguments, env=environment | {"RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)
    ]
    loss, expected = all_steps(tiny, source)
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    losses = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert losses[0] != losses[1]
    torch.testing.assert_close(sum(losses) / 2, loss, rtol=1e-5, atol=0)
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            error = (found[name] - gradient).norm()
            assert float(error) < 1e-5 * float(gradient.norm() + 1e-3 * whole), name
        for kind in ("adapt", "taught"):
            assert relative(found[f"{kind}.alignment.weight"], expected[f"{kind}.alignment.weight"]) < 1e-5


if __name__ == "__main__":
    main(*sys.argv[1:])
