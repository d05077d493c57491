"""How a model is run when it is timed: as it is, compiled, exported ahead of time, or in onnxruntime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from dynvit.interface import interface_of

Call = Callable[[Tensor], object]

NOT_FOUND = "the mode onnx needs {}: pip install onnx onnxruntime onnxscript"


def check_modes(modes: Sequence[str], device: str) -> None:
    """Say what a mode needs before minutes go into the others.

    Raises: ModuleNotFoundError without the packages of onnx, where nothing else is to be timed; ValueError for onnx on
    a GPU.
    """
    if "onnx" not in modes:
        return
    if set(modes) == {"onnx"}:
        _check_onnx()
    if device != "cpu":
        raise ValueError(f"the mode onnx is timed on the CPU only, not on {device}")


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(NOT_FOUND.format(" and ".join(missing)))


@contextmanager
def prepared(mode: str, models: Sequence[nn.Module], images_NCHW: Tensor) -> Iterator[list[Call]]:
    """Give each model as a call in this mode, for images of this shape only.

    Whatever a model raises that cannot be compiled or exported is raised here.
    """
    if mode == "eager":
        yield list(models)
        return
    # otherwise the compiler gives up after a few shapes, and eager code would be timed
    torch._dynamo.reset()
    try:
        with tempfile.TemporaryDirectory() as folder, _compiler_files(folder), torch.no_grad():
            make = {"compiled": _compiled, "exported": _exported, "onnx": _onnx}[mode]
            yield [make(model, images_NCHW, Path(folder) / str(number)) for number, model in enumerate(models)]
    finally:
        torch._dynamo.reset()


@contextmanager
def _compiler_files(folder: str) -> Iterator[None]:
    """Have inductor and Triton compile into this folder: in the one that all processes share by default, a process that
    was killed leaves half a library, which fails in every later one."""
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update({name: os.path.join(folder, name.lower()) for name in names})
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def _compiled(model: nn.Module, images_NCHW: Tensor, place: Path) -> Call:
    """Inductor with frozen weights on the CPU, CUDA graphs on a GPU; a second graph is an error in a static model."""
    whole = interface_of(model).static_cost
    if images_NCHW.is_cuda:
        return torch.compile(model, dynamic=False, fullgraph=whole, mode="reduce-overhead")
    return torch.compile(model, dynamic=False, fullgraph=whole, options={"freezing": True})


def _exported(model: nn.Module, images_NCHW: Tensor, place: Path) -> Call:
    """A package of AOTInductor, as a program without Python would load it."""
    program = torch.export.export(model, (images_NCHW,))
    options = {} if images_NCHW.is_cuda else {"freezing": True}
    package = torch._inductor.aoti_compile_and_package(program, package_path=f"{place}.pt2", inductor_configs=options)
    loaded: Call = torch._inductor.aoti_load_package(package)
    return loaded


def _onnx(model: nn.Module, images_NCHW: Tensor, place: Path) -> Call:
    _check_onnx()
    import onnxruntime

    torch.onnx.export(model, (images_NCHW,), f"{place}.onnx", dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(f"{place}.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images.numpy()})
