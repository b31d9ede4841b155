"""Every generator that a variable holds is found, whatever else there is, and nothing of the user's is kept alive."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from reprokit.capture.randomness.generators import Census


def variables(census: Census, *, again: bool = False) -> list[str]:
    found = census.again() if again else census.all()
    return [generator.name.removeprefix("variable ") for generator in found if generator.name.startswith("variable")]


def test_the_libraries_own_come_first() -> None:
    assert np.random is not None  # numpy loads it when it is first asked for
    assert [generator.name for generator in Census(dict).all()][:2] == ["random", "numpy"]


def test_every_kind_among_thousands() -> None:
    class Mine(random.Random):
        pass

    namespace: dict[str, Any] = {f"v{number}": number for number in range(5000)}
    namespace |= {
        "a": random.Random(1),
        "b": Mine(1),
        "c": np.random.default_rng(1),
        "d": np.random.RandomState(1),
        "e": np.random.PCG64(1),
        "_own": random.Random(1),
        "_": random.Random(1),
        "_12": random.Random(1),
        "__": random.Random(1),
        "system": random.SystemRandom(),
        "late": {"hidden": random.Random(1)},
    }
    assert variables(Census(lambda: namespace)) == ["a", "b", "c", "d", "e", "_own"]


def test_what_changed_between_two_cells_is_seen() -> None:
    """Added, exchanged, removed, no generator any more."""
    namespace: dict[str, Any] = {"x": 1, "kept": random.Random(1), "gone": random.Random(2), "other": random.Random(3)}
    census = Census(lambda: namespace)
    assert variables(census) == ["kept", "gone", "other"]
    del namespace["gone"]
    namespace["other"] = 5
    namespace["kept"] = np.random.default_rng(1)
    for number in range(2000):
        namespace[f"i{number}"] = number
    namespace["new"] = random.Random(4)
    assert variables(census, again=True) == ["kept", "new"]
    assert variables(census) == ["kept", "new"]


def test_a_namespace_that_is_no_dictionary() -> None:
    class View(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return {"a": random.Random(1)}[key]

        def __iter__(self) -> Any:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    census = Census(View)
    assert variables(census, again=True) == ["a"]
    assert variables(census) == ["a"]


def test_classes_that_cannot_be_hashed_or_lie() -> None:
    asked = []

    class Odd(type):
        def __eq__(cls, other: object) -> bool:
            asked.append("eq")
            return True

    class Strange(metaclass=Odd):
        pass

    class Proxy:
        @property
        def __class__(self) -> Any:
            asked.append("class")
            return random.Random

        @__class__.setter
        def __class__(self, value: Any) -> None: ...

    namespace = {"strange": Strange(), "proxy": Proxy(), "rng": random.Random(1)}
    assert variables(Census(lambda: namespace)) == ["rng"]
    assert asked == []


def test_nothing_of_the_users_is_kept_alive() -> None:
    class Mine(random.Random):
        pass

    namespace = {"rng": Mine(1)}
    census = Census(lambda: namespace)
    found = census.all()
    alive, kind = weakref.ref(namespace["rng"]), weakref.ref(Mine)
    del found, namespace["rng"], Mine
    assert alive() is None
    gc.collect()
    assert kind() is None
    assert variables(census, again=True) == []


def test_code_of_the_users_is_not_run_to_read_a_state() -> None:
    class Refusing(random.Random):
        def getstate(self) -> Any:
            raise RuntimeError("no")

        def setstate(self, state: Any) -> None:
            raise RuntimeError("no")

    value = Refusing(3)
    _, generator = [one for one in Census(lambda: {"x": value}).all() if one.name in ("random", "variable x")]
    stays, position = generator.parts(generator.get())
    first = value.random()
    generator.restore(generator.encode(stays), position)
    assert value.random() == first


def test_among_thousands_of_variables_what_is_new_is_seen_at_once_and_what_became_one_soon() -> None:
    namespace: dict[str, Any] = {f"x{number}": number for number in range(6_500)}
    census = Census(lambda: namespace)
    census.all()
    namespace["new"] = random.Random(1)
    assert variables(census) == ["new"]
    namespace["x7"] = random.Random(2)
    seen = [variables(census) for _ in range(4)]
    assert seen[-1] == ["x7", "new"]
    namespace["new"] = random.Random(3)  # known by its name
    assert variables(census) == ["x7", "new"]
