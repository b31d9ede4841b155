"""The smallest set of executed cells that yields one result, found by reading them and certified by running them.

What a cell needs of earlier ones cannot be known from its text: objects change behind other names, functions read
globals when they are called, libraries keep settings. So this is done in two steps that check each other.

1. Read (``effects``, ``needs``): each executed cell is read in the order in which it ran, and every way in which it
   may rest on an earlier one becomes a *need*, with how sure it is:

   - ``HARD``: without the earlier cell this one cannot run, or the record says that it read what that one wrote: it
     reads a name which only that one bound; it draws from a generator that was seeded, and that one drew before it.
   - ``SURE``: the earlier one certainly does something to what this one uses; whether the result depends on it is
     not known (``df["x"] = …``, a global that a called function reads, a file).
   - ``LIKELY``: it probably does (``model.fit(X)``, a setting, a change behind another name).
   - ``POSSIBLE``: it could (any unknown method, an argument of any function).

2. Run (``search``): the cells that are needed up to ``LIKELY`` are run as a replay of their own, and the result is
   compared with the recorded one by its type. When it differs, what is ``POSSIBLE`` is added, then all cells up to
   the result. When it is the same, cells that are not ``HARD`` needed are left out, all at once, then by halves, as
   long as the result stays the same. Only a set of cells that was run and gave the same is written.

Generators: a cell that draws from a *seeded* generator needs every cell that drew from it since the seed, or the
numbers would be others in a plain Jupyter. Where nothing was seeded no notebook can give the same numbers by
itself; then the recorded states are put back before each kept cell, as in every replay, and the verdict says so.
Whether the cells alone give the same is seen by a run in which nothing is put back.

Cells that raised are kept only when something needs what they did before, and are tagged ``raises-exception``.
Cells that were interrupted are never kept, nor are cells that only install packages: a replay does not run them.

It does not split cells, rename anything or change a source. It does not see through: code that only exists as a
string, changes that a library keeps to itself (beyond settings), counts of executions other than ``Out[…]``. Where
these matter the first run differs, and more cells are taken.
"""

from __future__ import annotations
