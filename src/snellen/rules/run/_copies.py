"""Models of a run that are copies of another one: averages of its weights, target networks."""

from typing import Any

from snellen.watching.facts import RunFacts


def idle_copies(run: RunFacts) -> dict[str, str]:
    """Parameter -> model, of each model of the run that no optimizer holds, no training pass called and that
    stands still, and that has the layers of one that is trained.

    Several models are watched as members of one, so that the first part of a name tells the model.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    for row in run.parameters.iter_rows(named=True):
        models.setdefault(row["name"].split(".", 1)[0], []).append(row)
    plans = {model: {(r["name"].split(".", 1)[-1], tuple(r["shape"])) for r in rows} for model, rows in models.items()}
    held = {model for model, rows in models.items() if any(r["optimizers"] for r in rows)}
    taught = [plans[model] for model in held if all(r["optimizers"] for r in models[model])]
    without = set(run.without_gradient)
    return {
        row["name"]: model
        for model, rows in models.items()
        if model.isdigit() and model not in held and plans[model] in taught
        if not any(r["moved"] or r["called"] for r in rows)
        and without.issuperset(r["name"] for r in rows if r["trainable"])
        for row in rows
    }
