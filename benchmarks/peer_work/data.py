"""Makes the two tables that the work reads."""

import numpy as np
import pandas as pd

people, visits = 4_000, 40_000
rng = np.random.default_rng(0)
table = {"id": range(people), "a": rng.normal(size=people), "b": rng.normal(size=people)}
pd.DataFrame({**table, "label": rng.integers(0, 2, people)}).to_csv("people.csv", index=False)
visited = {"person": rng.integers(0, people, visits), "x": rng.normal(size=visits)}
pd.DataFrame(visited).to_csv("visits.csv", index=False)
