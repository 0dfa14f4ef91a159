"""Gradio page of the desk: tabs, widgets, and the checks in front of its events and files."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _GradioWithoutStubs(MetaPathFinder):
    """Finder of the module of Gradio that writes editor stubs, at each import, and so makes it take twice as long."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gradio.component_meta":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_without_stubs(module: ModuleType) -> None:
            execute(module)
            module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]

        spec.loader.exec_module = execute_without_stubs  # type: ignore[method-assign]
        return spec


if "gradio" not in sys.modules:
    sys.meta_path.insert(0, _GradioWithoutStubs())
