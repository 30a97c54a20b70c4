"""Read a dataset into unsigned bytes with a fingerprint."""

from __future__ import annotations

import sys
from pathlib import Path

from nasbench.datasets.duplicates import repeated
from nasbench.datasets.prepared import save_prepared
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage


def body(stage: Stage) -> Outcome:
    """Load train and test split of the source or target and store them."""
    role = stage.item["role"]
    section = stage.params.source if role == "source" else stage.params.target
    dataset = stage.params.dataset(role)
    splits = {
        split: dataset.load(split, root=Path(section.root), download=section.download) for split in ("train", "test")
    }
    train, test = splits["train"], splits["test"]
    save_prepared(stage.output, train, test, {"dataset": section.dataset})
    channels, height, width = train.image_shape
    twice, shared = repeated(train), repeated(train, test)
    for what, pairs in (("stand twice in train", twice), ("stand in train and in test", shared)):
        if pairs:
            named = ", ".join(f"{one} = {other}" for one, other in pairs[:10])
            sys.stderr.write(
                f"{role}: {len(pairs)} images {what}, pixel for pixel: {named}{' ...' * (len(pairs) > 10)}\n"
            )
    metrics = {
        "num_repeated": len(twice), "num_shared_with_test": len(shared),
        "num_train": len(train), "num_test": len(test), "num_classes": train.num_classes,
        "channels": channels, "height": height, "width": width,
    }  # fmt: skip
    return Outcome(metrics=metrics, tags={"dataset": section.dataset, "dataset.fingerprint": train.fingerprint})


SPEC = Spec(
    name="prepare_data",
    arguments=("role",),
    inputs=lambda _params, item: {"files": ARTIFACTS / "inputs" / f"{item['role']}.json"},
    sections=lambda item: (item["role"],),
    output=lambda item: ARTIFACTS / "data" / item["role"],
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
