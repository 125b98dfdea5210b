"""Two processes: gathered loss and averaged gradients of one step equal one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from helpers.parts import relative, source_checkpoint
from helpers.ports import free_port
from helpers.run_parts import trial
from helpers.tiny import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from transferkit.training.distributed import average_gradients, world
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


def main(root: str, source: str, results: str) -> None:
    """What each process runs."""
    torch.distributed.init_process_group("gloo")
    rank, _ = world()
    loss, gradients = one_step(Tiny(Path(root)), Path(source))
    save_file({name: g.contiguous() for name, g in gradients.items()}, Path(results) / f"{rank}.safetensors")
    (Path(results) / f"{rank}.json").write_text(json.dumps(loss))
    sys.stdout.flush()
    torch.distributed.barrier()
    os._exit(0)  # gloo may abort while the interpreter shuts down


def test_two_processes_equal_one(tiny: Tiny, tmp_path: Path) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    arguments = [sys.executable, __file__, str(tiny.root), str(source), str(tmp_path)]
    processes = [
        subprocess.Popen(arguments, env=environment | {"RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)
    ]
    loss, expected = one_step(tiny, source)
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
        assert relative(found["adapt.alignment.weight"], expected["adapt.alignment.weight"]) < 1e-5


if __name__ == "__main__":
    main(*sys.argv[1:])
