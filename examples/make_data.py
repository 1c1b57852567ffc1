"""Write the data of the examples, which stand for yours: a folder of PNGs, a CSV, a text. None of it is downloaded.

    python examples/make_data.py [FOLDER]

Handwritten digits and the diabetes study are scikit-learn's, the text is the manual that comes with Python.
"""

import pydoc_data.topics
import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_diabetes, load_digits


def main(folder: Path) -> None:
    """Write the data below a folder, where each example looks for it."""
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / f"pictures/digits/{label}/{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(path)
    (folder / "table").mkdir(exist_ok=True)
    load_diabetes(as_frame=True, scaled=False).frame.to_csv(folder / "table/diabetes.csv", index=False)
    (folder / "text").mkdir(exist_ok=True)
    (folder / "text/manual.txt").write_text("\n".join(pydoc_data.topics.topics.values())[:60_000], encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
