"""One run, told in a few lines."""

from __future__ import annotations

from fastweights.experiments._statistics import standing_remark, wilson_interval
from fastweights.experiments.base import result_of
from fastweights.report.names import label
from fastweights.training.loop import build_task
from fastweights.training.recall import Answer
from fastweights.training.records import RunDirectory

_BAR = 24


def summary(run: RunDirectory) -> str:
    """What a finished run scored."""
    result, config = result_of(run), run.config()
    lines = [
        f"{label(config.cell)}, {config.hidden_size} units, seed {config.seed}: {result['status']} after "
        f"{result['updates']:,} updates in {result['seconds']:.0f} s ({result['reason']}; backend {result['backend']})"
    ]
    if result["test_errors"] is not None:
        error = result["test_errors"] / result["test_count"]
        low, high = wilson_interval(result["test_errors"], result["test_count"])
        lines.append(
            f"test error {100 * error:.2f} % (95 % interval {100 * low:.2f}–{100 * high:.2f}), "
            f"NLL {result['test_nll']:.3f}, with the weights best on validation, of update {result['best_update']:,}"
        )
        floor = build_task(config).no_binding_floor().error
        remark = standing_remark(error, floor)
        lines += [] if remark is None else [remark]
    lines.append(f"run directory {run.path}")
    return "\n".join(lines)


def answer_text(answer: Answer) -> str:
    """A run's answer, and which past steps the fast weights attended to."""
    verdict = "right" if answer.value == answer.expected else f"wrong, it is {answer.expected}"
    lines = [f"{answer.text} → {answer.value}   probability {answer.probability:.3f} ({verdict})"]
    if answer.attended is not None:
        largest = max(abs(step.weight) for step in answer.attended) or 1.0
        lines.append("the last step attended to (η λ^lag h(τ)·h_s, eq. 4):")
        for step in answer.attended:
            bar = "█" * round(_BAR * abs(step.weight) / largest)
            lines.append(f"  step {step.step + 1:2d}  {step.token}  {step.weight:8.3f}  {bar}")
    return "\n".join(lines)
