"""What papermill finds under the name ``reprokit``: it loads every engine at import, so this one is light."""

from __future__ import annotations

from typing import Any

__all__ = ["ReprokitEngine"]


class ReprokitEngine:
    """Papermill's engine ``reprokit``: passes on to ``engine.Engine``, imported when it is used."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **options: Any) -> Any:
        """Execute a notebook as one captured run."""
        from reprokit.notebook.engine import Engine

        return Engine.execute_notebook(nb, kernel_name, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> Any:
        """Return the name of the kernel to use."""
        from reprokit.notebook.engine import Engine

        return Engine.nb_kernel_name(nb, name)

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> Any:
        """Return the language of the notebook."""
        from reprokit.notebook.engine import Engine

        return Engine.nb_language(nb, language)
