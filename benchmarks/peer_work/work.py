"""An ordinary experiment: two tables, a model, its scores; nothing is declared and nothing seeded."""

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def main():
    """Do the work and return the best score."""
    people, visits = pd.read_csv("people.csv"), pd.read_csv("visits.csv")
    habits = visits.groupby("person")["x"].agg(["mean", "std", "max"]).fillna(0)
    table = people.merge(habits, left_on="id", right_index=True)
    features, label = table.drop(columns=["id", "label"]), table["label"]
    scores = []
    for depth in (2, 4, 6, 8):
        train, test, known, hidden = train_test_split(features, label)
        model = RandomForestClassifier(n_estimators=40, max_depth=depth)
        scores.append(model.fit(train, known).score(test, hidden))
    table.to_csv("table.csv", index=False)
    pd.DataFrame({"score": scores}).to_csv("scores.csv", index=False)
    print(max(scores))
    return max(scores)


if __name__ == "__main__":
    main()
