"""A scikit-learn pipeline that reads handwritten digits: train it, export it, and record what scikit-learn answers.

Run by `make digits`, in the image that the Dockerfile here describes. Writes model.onnx and golden.npz into a folder.
"""

import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

OPSET = {"": 17, "ai.onnx.ml": 3}
GOLDEN_ROWS = 32


def main(folder: Path) -> None:
    """Everything from one seed, so that the same image makes the same files."""
    pixels, labels = load_digits(return_X_y=True)
    known, new, known_labels, new_labels = train_test_split(pixels.astype(np.float32), labels, random_state=5)
    model = make_pipeline(StandardScaler(), MLPClassifier((96,), random_state=5, max_iter=400)).fit(known, known_labels)
    print(f"{model.score(new, new_labels):.1%} of {len(new)} new digits recognized")
    rows = new[:GOLDEN_ROWS]
    np.savez_compressed(
        folder / "golden.npz",
        **{
            "input:pixels": rows,
            "output:label": model.predict(rows),
            "output:probabilities": model.predict_proba(rows).astype(np.float32),
        },
    )
    # Without zipmap the probabilities are a tensor, which clients can be sent, and not a list of dictionaries.
    inputs = [("pixels", FloatTensorType([None, known.shape[1]]))]
    exported = to_onnx(model, name="digits", initial_types=inputs, target_opset=OPSET, options={"zipmap": False})
    (folder / "model.onnx").write_bytes(exported.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
