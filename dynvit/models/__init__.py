"""One package per method, its models in ``model*.py``; importing this package registers all of them with timm."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

for _file in Path(__file__).parent.glob("*/model*.py"):
    if not _file.with_name("__init__.py").is_file():
        raise ImportError(f"{_file.parent} has models but no __init__.py, so they would not be registered")

for _method in iter_modules(__path__):
    if _method.ispkg:
        _package = import_module(f"{__name__}.{_method.name}")
        for _module in iter_modules(_package.__path__):
            if _module.name.startswith("model"):
                import_module(f"{__name__}.{_method.name}.{_module.name}")
