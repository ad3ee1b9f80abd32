"""Draw the steps of docs/learn/by_hand.md: `python docs/figures_steps.py` from the root of a checkout.

It writes docs/learn/convolution_steps.html, a figure to step through without a script, and pictures of two steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from figures_mathematics import IMAGE, IMAGES, KERNEL, UPSTREAM

PAGE = Path(__file__).parent / "learn" / "convolution_steps.html"
PICTURES = {4: "learn_by_hand_forward.svg", 8: "learn_by_hand_backward.svg"}  # step -> file
BIAS, STRIDE, PADDING = 1.0, 2, 1
CELL = 30
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
# The colours of the site, and those of a white page where a picture stands alone.
STYLE = """
.numbers text { font: 14px system-ui, sans-serif; fill: var(--pst-color-text-base, #1f2328); text-anchor: middle; }
.numbers text.name { font-weight: 600; }
.numbers text.sum { font-size: 15px; text-anchor: start; }
.numbers rect { fill: none; stroke: var(--pst-color-text-muted, #6b7280); stroke-width: 0.8; }
.numbers rect.border { stroke-dasharray: 2 2; }
.numbers rect.window { fill: #1f6feb44; }
.numbers rect.weight { fill: #1a7f4b33; }
.numbers rect.result { fill: #d9770655; }
"""
STEPPER = """
.steps { overflow-x: auto; border: 1px solid var(--pst-color-border, #d0d7de); border-radius: 6px;
  padding: 0.75rem; margin-bottom: 1.15rem; }
.steps > input { position: absolute; opacity: 0; pointer-events: none; }
.steps .step { display: none; }
.steps svg { display: block; width: 100%; min-width: 34rem; height: auto; }
.steps .turn { display: flex; gap: 0.75rem; align-items: center; margin: 0 0 0.5rem; }
.steps .turn label { cursor: pointer; padding: 0.2rem 0.9rem; margin: 0; border-radius: 4px;
  border: 1px solid var(--pst-color-border, #d0d7de); }
.steps .turn label.none { visibility: hidden; }
.steps > input:focus-visible ~ .step .turn { outline: 2px solid #1f6feb; }
@media print { .steps .step { display: block; } .steps .turn { display: none; } }
"""


def shown(value: float) -> str:
    """A number with the sign of a formula."""
    return f"{value:g}".replace("-", MINUS)


def factor(value: float) -> str:
    """A number within a product."""
    return f"({shown(value)})" if value < 0 else shown(value)


def grid(
    values: np.ndarray,
    left: float,
    top: float,
    name: str,
    *,
    marks: Iterable[tuple[int, int]] = (),
    kind: str = "window",
    border: int = 0,
    known: np.ndarray | None = None,
) -> str:
    """A matrix as squares. What is not known yet is empty, and a border of zeros has dashed lines."""
    rows, columns = values.shape
    marked, parts = set(marks), []
    for i, j in np.ndindex(rows, columns):
        inside = border <= i < rows - border and border <= j < columns - border
        names = [kind] * ((i, j) in marked) + ["border"] * (not inside)
        attribute = f' class="{" ".join(names)}"' if names else ""
        x, y = left + j * CELL, top + i * CELL
        parts.append(f'<rect{attribute} x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}"/>')
        if known is None or known[i, j]:
            parts.append(f'<text x="{x + CELL / 2:g}" y="{y + CELL / 2 + 5:g}">{shown(values[i, j])}</text>')
    parts.append(f'<text class="name" x="{left + columns * CELL / 2:g}" y="{top - 9:g}">{escape(name)}</text>')
    return "".join(parts)


def window(a: int, b: int) -> list[tuple[int, int]]:
    """The places in the padded image that the output (a, b) reads."""
    return [(STRIDE * a + i, STRIDE * b + j) for i, j in np.ndindex(KERNEL.shape)]


def steps() -> list[tuple[str, str]]:
    """A sentence and a drawing for each step: four outputs forward, then what each of them gives back."""
    x = np.pad(IMAGE, PADDING)
    y, dx, dW = np.zeros((2, 2)), np.zeros(x.shape), np.zeros(KERNEL.shape)
    known, found, places = np.zeros((2, 2), bool), [], list(np.ndindex(2, 2))
    every = list(np.ndindex(KERNEL.shape))
    for a, b in places:
        terms = [(x[p], KERNEL[q]) for p, q in zip(window(a, b), every, strict=True)]
        y[a, b] = BIAS + sum(u * v for u, v in terms)
        known[a, b] = True
        written = [f"{factor(u)} {TIMES} {factor(v)}" for u, v in terms if u and v]
        equation = f"y[{a}, {b}] = {' + '.join(written)} + {shown(BIAS)} = {shown(y[a, b])}"
        drawing = [
            grid(x, 10, 40, "image x, padded", marks=window(a, b), border=PADDING),
            grid(KERNEL, 250, 85, "kernel W", marks=every, kind="weight"),
            f'<text x="386" y="135">+ {shown(BIAS)} =</text>',
            grid(y, 440, 100, "output y", marks=[(a, b)], kind="result", known=known),
            f'<text class="sum" x="10" y="252">{escape(equation)}</text>',
        ]
        found.append((f"Forward, output ({a}, {b})", equation, "".join(drawing)))
    for a, b in places:
        rows, columns = slice(STRIDE * a, STRIDE * a + 3), slice(STRIDE * b, STRIDE * b + 3)
        dW += UPSTREAM[a, b] * x[rows, columns]
        dx[rows, columns] += UPSTREAM[a, b] * KERNEL
        equation = (
            f"dW += {factor(UPSTREAM[a, b])} {TIMES} window of x,   window of dx += {factor(UPSTREAM[a, b])} {TIMES} W"
        )
        drawing = [
            grid(UPSTREAM, 10, 100, "dy", marks=[(a, b)], kind="result"),
            grid(x, 95, 40, "image x, padded", marks=window(a, b), border=PADDING),
            grid(dW, 300, 85, "dW so far", marks=every, kind="weight"),
            grid(KERNEL, 415, 85, "kernel W", marks=every, kind="weight"),
            grid(dx, 530, 40, "dx so far", marks=window(a, b), border=PADDING),
            f'<text class="sum" x="10" y="252">{escape(equation)}</text>',
        ]
        found.append((f"Backward, output ({a}, {b})", f"{equation}. dW is now {dW.tolist()}", "".join(drawing)))
    return [
        (title, f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 266" role="img" class="numbers" '
                f'aria-label="{escape(f"{title}: {said}", quote=True)}">{drawing}</svg>')
        for title, said, drawing in found
    ]  # fmt: skip


def stepper() -> str:
    """All steps in one piece of HTML: a radio button that nobody sees chooses which of them is shown."""
    found = steps()
    chosen = [f"#step{k}:checked ~ .step{k} {{ display: block; }}" for k in range(1, len(found) + 1)]
    parts = [f"<style>{STYLE}{STEPPER}{chr(10).join(chosen)}\n</style>", '<div class="steps">']
    for k, (title, _) in enumerate(found, 1):
        checked = " checked" if k == 1 else ""
        name = escape(f"Step {k}: {title}", quote=True)
        parts.append(f'<input type="radio" name="steps" id="step{k}" aria-label="{name}"{checked}>')
    for k, (title, drawing) in enumerate(found, 1):
        back = f'<label for="step{k - 1}">Back</label>' if k > 1 else '<label class="none">Back</label>'
        after = f'<label for="step{k + 1}">Next</label>' if k < len(found) else '<label for="step1">Again</label>'
        turn = f'<div class="turn">{back}{after}<span>Step {k} of {len(found)}. {escape(title)}</span></div>'
        parts.append(f'<div class="step step{k}">{turn}{drawing}</div>')
    return "\n".join([*parts, "</div>", ""])


def picture(step: int) -> str:
    """One step as a file of its own."""
    _, drawing = steps()[step - 1]
    head, _, rest = drawing.partition(">")
    return f"{head}><style>{STYLE}</style>{rest}\n"


def main() -> None:
    """Write the figure and the pictures."""
    PAGE.write_text(stepper(), encoding="utf-8")
    for step, name in PICTURES.items():
        (IMAGES / name).write_text(picture(step), encoding="utf-8")


if __name__ == "__main__":
    main()
