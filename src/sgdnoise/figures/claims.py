"""The paper's claims with their verdicts, as a table."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from sgdnoise import figures

# Left edge of a column, and how many characters a line of it holds.
COLUMNS = {
    "claim": (0, 7),
    "statement": (7, 52),
    "paper": (55, 34),
    "measured": (87, 50),
    "verdict": (133, 15),
    "reason": (150, 50),
}
WIDTH = 195
TITLES = {"claim": "", "statement": "claim", "paper": "the paper found", "measured": "measured here [90 % interval]"}
# Told apart in grey by lightness, and by the word. A verdict on the paper is a filled box, evidence from elsewhere an outline.
BOXES = {"confirmed": ("#0b3c6f", "white"), "contradicted": ("#f0a35e", "black"), "undetermined": ("white", "0.35")}
SECTIONS = {
    "paper": "Verdicts on the paper",
    "other budget": "The paper's benchmark at another budget: evidence, no verdict on the paper",
    "conjecture": "The talk's conjectures, which the paper does not test: evidence at this scale",
    "sibling": "Laptop siblings of the paper's benchmarks: evidence, no verdict on the paper",
}
CAPTION = (
    "Each claim is decided at the 5 % level: confirmed or agrees if all its contrasts lie in their bands, contradicted or disagrees"
    " if one lies outside, with a correction for their number but not for the number of claims. The contrast shown is the one that"
    " decides; claims.csv lists all. Test error is 1 - accuracy. Optima and their values are estimated by a curve through each sweep."
)

LOOKS = " With seeds added at several looks the 5 % are spent over these, and the intervals are wider than 90 %."


def draw(tables: figures.Tables, benchmark: str | None, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw a line per claim; a benchmark whose cells are missing has one line."""
    rows = layout(tables["claims"].astype(object).fillna(""))
    num_lines = sum(height for height, _ in rows) + 3
    figure = Figure(figsize=(13, 0.135 * num_lines + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, WIDTH), ylim=(num_lines, 0))
    axes.axis("off")
    for name, (left, _) in COLUMNS.items():
        axes.text(left, 1, TITLES.get(name, name), weight="bold", fontsize=8, va="center")
    top = 2.0
    for height, texts in rows:
        draw_row(axes, top, height, texts)
        top += height
    figures.label(figure, "The claims of the paper", CAPTION + LOOKS * ("look" in tables["claims"]))
    return figure


def layout(claims: pd.DataFrame) -> list[tuple[float, dict[str, str]]]:
    """Return height and texts per row of the table: section titles, claims, and a line per benchmark whose cells are missing."""
    rows: list[tuple[float, dict[str, str]]] = []
    for role, title in SECTIONS.items():
        some = claims[claims["role"] == role]
        if some.empty:
            continue
        rows.append((2, {"title": title}))
        present = set(some.loc[~some["reason"].str.startswith("missing"), "benchmark"])
        for record in some[some["benchmark"].isin(present)].to_dict("records"):
            measured = record["measured"].replace(" (agrees", "\n(agrees").replace(" [", "\u00a0[")
            where = record["benchmark"] + f", {record['scale']}" * (role != "paper")
            statement = f"{record['statement']} ({where})"
            reason = record["reason"] if record["verdict"] == "undetermined" else ""
            name = record["claim"].split()[0]  # what a conjecture is about stands in its statement
            texts = record | {"claim": name, "statement": statement, "measured": measured, "reason": reason}
            wrapped = {column: wrap(texts[column], width) for column, (_, width) in COLUMNS.items()}
            rows.append((max(text.count("\n") for text in wrapped.values()) + 1.6, wrapped))
        for name, number in some.loc[~some["benchmark"].isin(present), "benchmark"].value_counts(sort=False).items():
            rows.append((1.4, {"line": f"{name}: {number} undetermined, cells missing (claims.csv says which)"}))
    return rows


def wrap(text: str, width: int) -> str:
    """Break a text into lines of a column's width, at most five."""
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, width)]
    return "\n".join(lines[:5]) + (" ..." if len(lines) > 5 else "")


def draw_row(axes: Axes, top: float, height: float, texts: dict[str, Any]) -> None:
    """Write one row of the table below `top`, in lines."""
    style: dict[str, Any] = {"fontsize": 7, "va": "top", "linespacing": 1.15}
    if "title" in texts:
        axes.text(0, top + 0.7, texts["title"], fontsize=8.5, weight="bold", va="top", color="#0b3c6f")
        return
    axes.axhline(top, color="0.85", linewidth=0.6)
    if "line" in texts:
        axes.text(COLUMNS["statement"][0], top + 0.3, texts["line"], color="0.35", **style)
        return
    for name, (left, _) in COLUMNS.items():
        if name != "verdict":
            axes.text(left, top + 0.3, texts[name], **style)
    face, ink = BOXES.get(texts["verdict"], ("white", "black"))
    left, width = COLUMNS["verdict"]
    box = FancyBboxPatch(
        (left, top + 0.3), width - 1, 1, boxstyle="square,pad=0", facecolor=face, edgecolor="0.35", linewidth=0.7
    )
    axes.add_patch(box)
    axes.text(left + (width - 1) / 2, top + 0.8, texts["verdict"], color=ink, fontsize=7, ha="center", va="center")
